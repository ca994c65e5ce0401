"""`make secret-scan`: no password, key or token stands where others may read it.

__main__      the command
scanning      detect-secrets over files, with the settings of this project
history       what git ever added to each file and that is not there any more
accepted      what was looked at and is no secret: .secrets.baseline
service_key   how a key of the service looks, for detect-secrets
"""
