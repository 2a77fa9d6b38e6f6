# What `make infra-local` changes in its copy of infra/, so that it fits the AWS emulator at ENDPOINT.

provider "aws" {
  access_key                  = "local"
  secret_key                  = "local"
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = "true"

  endpoints {
    cloudwatch     = "ENDPOINT"
    iam            = "ENDPOINT"
    kms            = "ENDPOINT"
    lambda         = "ENDPOINT"
    logs           = "ENDPOINT"
    s3             = "ENDPOINT"
    s3control      = "ENDPOINT"
    scheduler      = "ENDPOINT"
    secretsmanager = "ENDPOINT"
    sns            = "ENDPOINT"
    sqs            = "ENDPOINT"
    sts            = "ENDPOINT"
  }
}

locals {
  # The emulator forgets how many old versions are kept, and from 5.95 on the provider waits in vain until it reads what
  # it has written.
  kept_newest = null
}

# What the emulator forgets of a resource, or spaces as it likes, so that Terraform would set it again.

resource "aws_lambda_function" "this" {
  lifecycle {
    ignore_changes = [logging_config]
  }
}

resource "aws_s3_bucket" "this" {
  lifecycle {
    ignore_changes = [tags_all] # those of CreateBucket, by which the provider sets them from 6.23 on
  }
}

resource "aws_sqs_queue" "jobs" {
  lifecycle {
    ignore_changes = [redrive_policy]
  }
}
