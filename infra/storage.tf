# Two buckets: tokens, which jobs read, and state (grants, leases, incidents), which nobody but the function reads.

locals {
  buckets = toset(["tokens", "state"])
  # Bucket names are the world's, so they carry account and region.
  bucket_names = { for use in local.buckets : use => "${var.name}-${use}-${local.account}-${local.region}" }
  bucket_arns  = { for use, name in local.bucket_names : use => "arn:${local.partition}:s3:::${name}" }

  own_keys    = toset([for use in ["tokens", "state", "messages"] : use if var.kms_key_arns[use] == null])
  kms_key_arn = merge(var.kms_key_arns, { for use, key in aws_kms_key.this : use => key.arn })
}

resource "aws_kms_key" "this" {
  for_each = local.own_keys

  description             = "${var.name}: ${each.key}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = templatefile(each.key == "messages" ? "${path.module}/policies/messages-key.json.tftpl" : "${path.module}/policies/bucket-key.json.tftpl", {
    partition = local.partition
    account   = local.account
  })
}

resource "aws_kms_alias" "this" {
  for_each = local.own_keys

  name          = "alias/${var.name}-${each.key}"
  target_key_id = aws_kms_key.this[each.key].key_id
}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_18: access logging is optional, `access_log_bucket`
  #checkov:skip=CKV_AWS_144: tokens live for hours and are harvested anew; a copied grant would be used up elsewhere
  #checkov:skip=CKV2_AWS_62: jobs are told of new tokens by the topic, with more in it than S3's event

  for_each = local.buckets

  bucket        = local.bucket_names[each.key]
  force_destroy = var.delete_data_on_destroy
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each = local.buckets

  bucket                  = aws_s3_bucket.this[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = local.kms_key_arn[each.key]
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    id     = "end-old-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days           = var.old_versions.days
      newer_noncurrent_versions = var.old_versions.keep
    }

    expiration {
      # What a deleted lease or incident leaves behind.
      expired_object_delete_marker = true
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_logging" "this" {
  for_each = var.access_log_bucket == null ? toset([]) : local.buckets

  bucket        = aws_s3_bucket.this[each.key].id
  target_bucket = var.access_log_bucket
  target_prefix = "${aws_s3_bucket.this[each.key].id}/"
}

resource "aws_s3_bucket_policy" "tokens" {
  bucket = aws_s3_bucket.this["tokens"].id
  policy = templatefile("${path.module}/policies/token-bucket.json.tftpl", {
    bucket_arn = local.bucket_arns["tokens"]
    key_arn    = local.kms_key_arn["tokens"]
  })

  # S3 refuses two changes of a bucket's access at once.
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_policy" "state" {
  bucket = aws_s3_bucket.this["state"].id
  policy = templatefile("${path.module}/policies/state-bucket.json.tftpl", {
    bucket_arn = local.bucket_arns["state"]
    key_arn    = local.kms_key_arn["state"]
    principals = jsonencode(compact([aws_iam_role.function.arn, var.break_glass_role_arn]))
  })

  depends_on = [aws_s3_bucket_public_access_block.this]
}
