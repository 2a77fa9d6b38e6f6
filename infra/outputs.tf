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
      token_key_arn    = local.kms_key_arn["tokens"]
    })
  }
}

output "dashboard_url" {
  description = "The dashboard in the console."
  value       = "https://${local.region}.console.aws.amazon.com/cloudwatch/home?region=${local.region}#dashboards/dashboard/${aws_cloudwatch_dashboard.this.dashboard_name}"
}

output "runbook_variables" {
  description = "What the runbook's commands need; paste it into a shell."
  value       = <<-EOT
    export AWS_REGION=${local.region}
    export FUNCTION=${aws_lambda_function.this.function_name} LOG_GROUP=${aws_cloudwatch_log_group.function.name}
    export TOKEN_BUCKET=${aws_s3_bucket.this["tokens"].id} STATE_BUCKET=${aws_s3_bucket.this["state"].id}
    export SECRET_PREFIX=${var.secret_prefix}
  EOT
}
