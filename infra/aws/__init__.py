"""`make aws-buckets`: the buckets on AWS with their protection, and the policies of who uses them.

    __main__    arguments and environment; what is printed; the exit code
    names       names of buckets, region and retention, checked
    settings    one class a setting of a bucket: read it, say how it must be, write it
    bootstrap   plan (what differs from what must be), then act
    rendering   the policies of `policies/` with the names of the buckets put in

boto3 is used here and not through `cracks.storage`, which is what the product needs of a bucket:
to list, read and write objects. Nothing that serves or trains shall even have the code that changes
who may read a bucket, so that code lives outside the packages that are installed with them.
"""
