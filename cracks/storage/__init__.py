"""Objects in S3-compatible storage (boto3): list a prefix, keep a local mirror of it.

Endpoint, region and credentials are boto3's own settings: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
`AWS_PROFILE` and so on. With an endpoint of one's own, boto3 puts the bucket into the path.
"""
