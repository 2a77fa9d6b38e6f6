locals {
  function_name = var.name
  function_zip  = coalesce(var.function_zip, "${path.module}/../target/lambda/${var.architecture}/bootstrap/bootstrap.zip")

  # Everything that the function is told, by the names of its contract.
  function_environment = {
    TOKEN_BUCKET      = aws_s3_bucket.this["tokens"].id
    STATE_BUCKET      = aws_s3_bucket.this["state"].id
    TOPIC_ARN         = aws_sns_topic.messages.arn
    SECRET_PREFIX     = var.secret_prefix
    ENVIRONMENT       = var.environment
    SCHEDULE_INTERVAL = local.interval
    MAX_CONCURRENCY   = tostring(var.function.max_concurrency)
    TOKEN_KMS_KEY_ID  = local.kms_key_arn["tokens"]
    STATE_KMS_KEY_ID  = local.kms_key_arn["state"]
  }
}

resource "aws_cloudwatch_log_group" "function" {
  #checkov:skip=CKV_AWS_158: no secret is ever logged, which a test holds; CloudWatch encrypts with its own key

  name              = "/aws/lambda/${local.function_name}"
  retention_in_days = var.function.log_retention_days
}

resource "aws_iam_role" "function" {
  name               = "${var.name}-function"
  description        = "What the function may do"
  assume_role_policy = templatefile("${path.module}/policies/function-trust.json.tftpl", {})
}

resource "aws_iam_role_policy" "function" {
  name = "harvest"
  role = aws_iam_role.function.id
  policy = templatefile("${path.module}/policies/function.json.tftpl", {
    partition          = local.partition
    region             = local.region
    account            = local.account
    dns_suffix         = data.aws_partition.current.dns_suffix
    secret_prefix      = var.secret_prefix
    token_bucket_arn   = local.bucket_arns["tokens"]
    state_bucket_arn   = local.bucket_arns["state"]
    token_key_arn      = local.kms_key_arn["tokens"]
    state_key_arn      = local.kms_key_arn["state"]
    messages_key_arn   = local.kms_key_arn["messages"]
    topic_arn          = aws_sns_topic.messages.arn
    log_group_arn      = aws_cloudwatch_log_group.function.arn
    failures_queue_arn = aws_sqs_queue.dead_letters["failures"].arn
  })
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_50: one run is one record of metrics and a few log lines; there is nothing to trace across
  #checkov:skip=CKV_AWS_116: the on-failure destination below has more in it than a dead-letter queue's message
  #checkov:skip=CKV_AWS_117: it calls public authorization servers; a VPC would only add a NAT gateway to pay for
  #checkov:skip=CKV_AWS_173: the environment holds names, no secret; Lambda encrypts it with its own key
  #checkov:skip=CKV_AWS_272: whoever may deploy builds the zip; signing it on the same machine proves no more

  function_name                  = local.function_name
  description                    = "Keeps OAuth tokens fresh in ${aws_s3_bucket.this["tokens"].id}"
  role                           = aws_iam_role.function.arn
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  filename                       = local.function_zip
  source_code_hash               = fileexists(local.function_zip) ? filebase64sha256(local.function_zip) : null
  memory_size                    = var.function.memory
  timeout                        = var.function.timeout
  reserved_concurrent_executions = var.function.reserved_concurrency

  environment {
    variables = local.function_environment
  }

  logging_config {
    log_group             = aws_cloudwatch_log_group.function.name
    log_format            = "JSON"
    application_log_level = var.function.log_level
    system_log_level      = "INFO"
  }

  lifecycle {
    precondition {
      condition     = fileexists(local.function_zip)
      error_message = "There is no ${local.function_zip}: `make build ARCH=${var.architecture}` makes it."
    }
  }

  depends_on = [aws_iam_role_policy.function]
}

resource "aws_lambda_function_event_invoke_config" "this" {
  function_name = aws_lambda_function.this.function_name

  # One more try; then the next scheduled run does the same work. What waits longer than an interval is stale.
  maximum_retry_attempts       = 1
  maximum_event_age_in_seconds = min(max(local.interval_seconds, 60), 21600)

  destination_config {
    on_failure {
      destination = aws_sqs_queue.dead_letters["failures"].arn
    }
  }
}
