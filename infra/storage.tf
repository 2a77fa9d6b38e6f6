# Two buckets: tokens, which jobs read, and state. Of the state, grants, leases and what belongs to connecting are read and
# written by the function alone; incidents, forecasts, reports and the catalog may be read by people.

locals {
  buckets = toset(["tokens", "state"])
  # Bucket names are the world's, so they carry account and region.
  bucket_names = { for use in local.buckets : use => "${var.name}-${use}-${local.account}-${local.region}" }
  bucket_arns  = { for use, name in local.bucket_names : use => "arn:${local.partition}:s3:::${name}" }

  # A key that was made stays when an own one is named: what it encrypted would be lost with it.
  made_keys   = toset([for use in ["tokens", "state", "messages"] : use if var.kms_key_arns[use] == null || var.kms_key_arns.new_keys_too])
  kms_key_arn = { for use in ["tokens", "state", "messages"] : use => var.kms_key_arns[use] == null ? aws_kms_key.this[use].arn : var.kms_key_arns[use] }
  # The key that is written with, and those that older versions may be encrypted with. Both are taken for writing, so that
  # a run in which the key is changed can still save the grant that it has just been given.
  bucket_key_arns = {
    for use in local.buckets : use => concat(
      [local.kms_key_arn[use]],
      var.kms_key_arns[use] != null && contains(local.made_keys, use) ? [aws_kms_key.this[use].arn] : [],
      tolist(var.former_key_arns[use]),
    )
  }

  # ARNs of roles in conditions, not principals: they hold before a role is made, and after one is made anew.
  function_role_arn = "arn:${local.partition}:iam::${local.account}:role/${local.function_role_name}"
  trusted_role_arns = compact([local.function_role_arn, var.break_glass_role_arn])
  own_account_arn   = "arn:${local.partition}:iam::${local.account}:root"
  reader_accounts = distinct(concat([local.own_account_arn], [
    for arn in var.reader_role_arns : replace(arn, "/:role/.*/", ":root")
  ]))

  # Who may decrypt, as patterns of ARNs. With nobody named: whoever IAM allows, in this account and through S3 only.
  own_principals = ["arn:${local.partition}:*:*:${local.account}:*"]
  decrypting_arns = {
    tokens = length(var.reader_role_arns) == 0 ? local.own_principals : concat(sort(var.reader_role_arns), compact([var.break_glass_role_arn]))
    state  = length(var.operator_role_arns) == 0 ? local.own_principals : concat(local.trusted_role_arns, sort(var.operator_role_arns))
  }
}

resource "aws_kms_key" "this" {
  for_each = local.made_keys

  description             = "${var.name}: ${each.key}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = (
    each.key == "messages" ?
    templatefile("${path.module}/policies/messages-key.json.tftpl", {
      partition       = local.partition
      account         = local.account
      region          = local.region
      dns_suffix      = data.aws_partition.current.dns_suffix
      publishing_role = local.function_role_arn
    }) :
    templatefile("${path.module}/policies/bucket-key.json.tftpl", {
      partition        = local.partition
      account          = local.account
      region           = local.region
      dns_suffix       = data.aws_partition.current.dns_suffix
      encrypting_roles = jsonencode(local.trusted_role_arns)
      decrypting_roles = jsonencode(local.decrypting_arns[each.key])
      accounts         = jsonencode(each.key == "tokens" ? local.reader_accounts : [local.own_account_arn])
    })
  )
}

resource "aws_kms_alias" "this" {
  for_each = local.made_keys

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

  # A key outlives its bucket: in a destroy it is not tried before the bucket is gone.
  depends_on = [aws_kms_key.this]
}

# Terraform destroys first what needs other things, and this needs everything: while there are tokens and grants that may
# not be deleted, it stops every destroy, and every change that would replace the buckets, before anything is gone.
resource "terraform_data" "guard" {
  input            = var.delete_data_on_destroy
  triggers_replace = [local.bucket_names]

  provisioner "local-exec" {
    when    = destroy
    quiet   = true
    command = self.output ? "exit 0" : "test \"$TOKEN_HARVESTER_BUCKETS\" = empty || { echo 'There may be tokens and grants: make destroy looks; else deploy with delete_data_on_destroy = true before.' >&2; exit 1; }"
  }

  depends_on = [
    aws_cloudwatch_dashboard.this,
    aws_cloudwatch_log_group.function,
    aws_cloudwatch_metric_alarm.this,
    aws_cloudwatch_metric_alarm.throttled,
    aws_iam_role.function,
    aws_iam_role.invoker,
    aws_iam_role_policy.function,
    aws_iam_role_policy.invoker,
    aws_iam_role_policy.network,
    aws_kms_alias.this,
    aws_kms_key.this,
    aws_lambda_function.this,
    aws_lambda_function_event_invoke_config.this,
    aws_s3_bucket.this,
    aws_s3_bucket_lifecycle_configuration.this,
    aws_s3_bucket_logging.this,
    aws_s3_bucket_ownership_controls.this,
    aws_s3_bucket_policy.state,
    aws_s3_bucket_policy.tokens,
    aws_s3_bucket_public_access_block.this,
    aws_s3_bucket_server_side_encryption_configuration.this,
    aws_s3_bucket_versioning.this,
    aws_scheduler_schedule.this,
    aws_scheduler_schedule_group.this,
    aws_sns_topic.alarms,
    aws_sns_topic.messages,
    aws_sns_topic_policy.alarms,
    aws_sns_topic_policy.messages,
    aws_sns_topic_subscription.alarm_emails,
    aws_sns_topic_subscription.alarm_urls,
    aws_sns_topic_subscription.alert_emails,
    aws_sns_topic_subscription.alert_urls,
    aws_sns_topic_subscription.jobs,
    aws_sqs_queue.dead_letters,
    aws_sqs_queue.jobs,
    aws_sqs_queue_policy.jobs,
  ]
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

locals {
  reports_days = 30
  kept_newest  = var.old_versions.keep

  # For what is kept under a prefix: how long old versions stay, and how many at least. A delete marker goes once no older
  # version is left under it, so what is deleted and written anew all the time (leases, incidents) keeps none for ever.
  lifecycle_rules = {
    tokens = {
      tokens = { prefix = "tokens/", old_days = var.old_versions.days, newest = local.kept_newest, days = null }
    }
    state = {
      grants    = { prefix = "grants/", old_days = var.old_versions.days, newest = local.kept_newest, days = null }
      leases    = { prefix = "leases/", old_days = 1, newest = null, days = null }
      incidents = { prefix = "incidents/", old_days = var.old_versions.days, newest = null, days = null }
      forecasts = { prefix = "forecasts/", old_days = var.old_versions.days, newest = null, days = null }
      catalog   = { prefix = "catalog.json", old_days = var.old_versions.days, newest = null, days = null }
      reports   = { prefix = "reports/", old_days = 1, newest = null, days = local.reports_days }
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    id     = "end-what-is-left"
    status = "Enabled"

    filter {}

    expiration {
      # What a deleted object leaves behind, once its old versions have gone.
      expired_object_delete_marker = true
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  dynamic "rule" {
    for_each = local.lifecycle_rules[each.key]

    content {
      id     = "end-old-${rule.key}"
      status = "Enabled"

      filter {
        prefix = rule.value.prefix
      }

      dynamic "expiration" {
        for_each = rule.value.days[*]

        content {
          days = expiration.value
        }
      }

      noncurrent_version_expiration {
        noncurrent_days           = rule.value.old_days
        newer_noncurrent_versions = rule.value.newest
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

# Asked for at plan, so that a bucket that does not exist stops nothing half-way.
data "aws_s3_bucket" "access_logs" {
  count = var.access_log_bucket == null ? 0 : 1

  bucket = var.access_log_bucket
}

resource "aws_s3_bucket_logging" "this" {
  for_each = var.access_log_bucket == null ? toset([]) : local.buckets

  bucket        = aws_s3_bucket.this[each.key].id
  target_bucket = data.aws_s3_bucket.access_logs[0].id
  target_prefix = "${aws_s3_bucket.this[each.key].id}/"
}

resource "aws_s3_bucket_policy" "tokens" {
  bucket = aws_s3_bucket.this["tokens"].id
  policy = templatefile("${path.module}/policies/token-bucket.json.tftpl", {
    bucket_arn = local.bucket_arns["tokens"]
    key_arns   = jsonencode(local.bucket_key_arns["tokens"])
    accounts   = jsonencode(local.reader_accounts)
    readers    = jsonencode(local.decrypting_arns["tokens"])
    documents = jsonencode(
      length(var.reader_sources) == 0 ? ["${local.bucket_arns["tokens"]}/tokens/*"] :
      [for source in sort(var.reader_sources) : "${local.bucket_arns["tokens"]}/tokens/${source}.json"]
    )
    # Operators too: they see a token's age without being able to decrypt it.
    others_than = jsonencode(
      length(var.reader_role_arns) == 0 ? local.own_principals :
      concat(local.trusted_role_arns, sort(var.reader_role_arns), sort(var.operator_role_arns))
    )
  })

  # S3 refuses two changes of a bucket's access at once.
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_policy" "state" {
  bucket = aws_s3_bucket.this["state"].id
  policy = templatefile("${path.module}/policies/state-bucket.json.tftpl", {
    bucket_arn = local.bucket_arns["state"]
    key_arns   = jsonencode(local.bucket_key_arns["state"])
    principals = jsonencode(local.trusted_role_arns)
  })

  depends_on = [aws_s3_bucket_public_access_block.this]
}
