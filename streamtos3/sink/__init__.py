"""An endless stream of records stored as many objects, each uploaded and proved."""
