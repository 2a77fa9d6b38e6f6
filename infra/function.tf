locals {
  function_name      = var.name
  function_role_name = "${var.name}-function"
  function_zip       = coalesce(var.function_zip, "${path.module}/../target/lambda/${var.architecture}/bootstrap/bootstrap.zip")

  in_vpc = length(var.function.subnet_ids) > 0

  # Everything that the function is told, by the names of its contract.
  function_environment = merge({
    TOKEN_BUCKET      = aws_s3_bucket.this["tokens"].id
    STATE_BUCKET      = aws_s3_bucket.this["state"].id
    TOPIC_ARN         = aws_sns_topic.messages.arn
    SECRET_PREFIX     = var.secret_prefix
    ENVIRONMENT       = var.environment
    SCHEDULE_INTERVAL = local.interval
    MAX_CONCURRENCY   = tostring(var.function.max_concurrency)
    TOKEN_KMS_KEY_ID  = local.kms_key_arn["tokens"]
    STATE_KMS_KEY_ID  = local.kms_key_arn["state"]
  }, var.runbook_url == null ? {} : { RUNBOOK_URL = var.runbook_url })
}

resource "aws_cloudwatch_log_group" "function" {
  #checkov:skip=CKV_AWS_158: a key is optional, `kms_key_arns`; no secret is ever logged, which a test holds

  name              = "/aws/lambda/${local.function_name}"
  retention_in_days = var.function.log_retention_days
  kms_key_id        = var.kms_key_arns.logs
}

resource "aws_iam_role" "function" {
  name                 = local.function_role_name
  description          = "What the function may do"
  permissions_boundary = var.permissions_boundary_arn
  assume_role_policy   = templatefile("${path.module}/policies/function-trust.json.tftpl", { account = local.account })
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
    token_key_arns     = jsonencode(local.bucket_key_arns["tokens"])
    state_key_arns     = jsonencode(local.bucket_key_arns["state"])
    messages_key_arn   = local.kms_key_arn["messages"]
    topic_arn          = aws_sns_topic.messages.arn
    log_group_arn      = aws_cloudwatch_log_group.function.arn
    failures_queue_arn = aws_sqs_queue.dead_letters["failures"].arn
  })
}

resource "aws_iam_role_policy" "network" {
  count = local.in_vpc ? 1 : 0

  name = "network"
  role = aws_iam_role.function.id
  policy = templatefile("${path.module}/policies/function-network.json.tftpl", {
    function_arn = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${local.function_name}"
  })
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_50: one run is one record of metrics and a few log lines; there is nothing to trace across
  #checkov:skip=CKV_AWS_116: the on-failure destination below has more in it than a dead-letter queue's message
  #checkov:skip=CKV_AWS_117: a VPC is optional, `function`; for public authorization servers it only adds a NAT gateway to pay for
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

  dynamic "vpc_config" {
    for_each = local.in_vpc ? [var.function] : []

    content {
      subnet_ids         = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
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

  depends_on = [aws_iam_role_policy.function, aws_iam_role_policy.network]
}

resource "aws_lambda_function_event_invoke_config" "this" {
  function_name = aws_lambda_function.this.function_name

  # One more try; then the next scheduled run does the same work.
  maximum_retry_attempts       = 1
  maximum_event_age_in_seconds = min(local.longest_wait_seconds, 21600)

  destination_config {
    on_failure {
      destination = aws_sqs_queue.dead_letters["failures"].arn
    }
  }
}
