"""CloudEvents over HTTP, answered once they are durable. Knows neither the sink nor S3."""
