"""The border to S3: one method for each request, and the only importer of botocore."""
