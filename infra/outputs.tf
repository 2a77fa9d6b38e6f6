output "region" {
  description = "Region of everything."
  value       = local.region
}

output "secret_prefix" {
  description = "What the names of sources' secrets begin with."
  value       = var.secret_prefix
}

output "function_name" {
  description = "The function."
  value       = aws_lambda_function.this.function_name
}

output "function_environment" {
  description = "The environment that the function is given; no secret is in it."
  value       = local.function_environment
}

output "log_group" {
  description = "The function's log."
  value       = aws_cloudwatch_log_group.function.name
}

output "topic_arn" {
  description = "Topic of tokens and alerts."
  value       = aws_sns_topic.messages.arn
}

output "alarm_topic_arn" {
  description = "Topic of CloudWatch's alarms."
  value       = aws_sns_topic.alarms.arn
}

output "job_queue_url" {
  description = "Queue that receives a message for each new token; null without `job_queue`."
  value       = one(aws_sqs_queue.jobs[*].url)
}

output "reader_policies" {
  description = "For each of `reader_sources` the policy, as JSON, that lets a job's role read its token, and nothing more."
  value = {
    for source in var.reader_sources : source => templatefile("${path.module}/policies/reader.json.tftpl", {
      source           = source
      region           = local.region
      dns_suffix       = data.aws_partition.current.dns_suffix
      token_bucket_arn = local.bucket_arns["tokens"]
      token_key_arns   = jsonencode(local.bucket_key_arns["tokens"])
    })
  }
}

locals {
  people_policy_values = {
    partition         = local.partition
    region            = local.region
    account           = local.account
    dns_suffix        = data.aws_partition.current.dns_suffix
    function_arn      = aws_lambda_function.this.arn
    log_group_arn     = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${aws_cloudwatch_log_group.function.name}"
    secret_prefix     = var.secret_prefix
    token_bucket_arn  = local.bucket_arns["tokens"]
    state_bucket_arn  = local.bucket_arns["state"]
    state_key_arns    = jsonencode(local.bucket_key_arns["state"])
    schedule_group    = local.schedule_group_name
    dead_letters_arns = jsonencode(sort([for queue in aws_sqs_queue.dead_letters : queue.arn]))
  }
}

output "on_call_policy" {
  description = "Policy, as JSON, for the role of whoever is on call: what the runbook's commands need that are not for the break-glass role. It reads and writes definitions, and no token."
  value       = templatefile("${path.module}/policies/on-call.json.tftpl", local.people_policy_values)
}

output "viewer_policy" {
  description = "Policy, as JSON, for whoever only looks: each source's state, incidents, forecasts and reports, without any right to see a token or a definition."
  value       = templatefile("${path.module}/policies/viewer.json.tftpl", local.people_policy_values)
}

output "dashboard_url" {
  description = "The dashboard in the console."
  value = join("", [
    "https://",
    lookup({ "aws-cn" = "console.amazonaws.cn", "aws-us-gov" = "console.amazonaws-us-gov.com" }, local.partition, "${local.region}.console.aws.amazon.com"),
    "/cloudwatch/home?region=${local.region}#dashboards/dashboard/${aws_cloudwatch_dashboard.this.dashboard_name}",
  ])
}

output "runbook_variables" {
  description = "What the runbook's commands need; paste it into a shell."
  value       = <<-EOT
    export AWS_REGION=${local.region} AWS_DEFAULT_REGION=${local.region}
    export FUNCTION=${aws_lambda_function.this.function_name} LOG_GROUP=${aws_cloudwatch_log_group.function.name}
    export TOKEN_BUCKET=${aws_s3_bucket.this["tokens"].id} STATE_BUCKET=${aws_s3_bucket.this["state"].id}
    export TOKEN_KMS_KEY_ID=${local.kms_key_arn["tokens"]} STATE_KMS_KEY_ID=${local.kms_key_arn["state"]}
    export SECRET_PREFIX=${var.secret_prefix}
    export TOPIC_ARN=${aws_sns_topic.messages.arn} ALARM_TOPIC_ARN=${aws_sns_topic.alarms.arn}
    export SCHEDULE_GROUP=${local.schedule_group_name} SCHEDULE=${aws_scheduler_schedule.this["all"].name}
    export FAILURES_QUEUE_URL=${aws_sqs_queue.dead_letters["failures"].url} SCHEDULE_QUEUE_URL=${aws_sqs_queue.dead_letters["schedule"].url}
  EOT
}
