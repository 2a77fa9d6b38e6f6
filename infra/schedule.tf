locals {
  # `15m`: the only place where the schedule becomes a duration. The function is told it, and the alarms count by it.
  interval = (
    startswith(var.schedule.expression, "rate") ?
    join("", regex("^rate\\(([0-9]+) ([mhd])", var.schedule.expression)) :
    var.schedule.interval
  )
  interval_seconds = (
    tonumber(regex("^[0-9]+", local.interval)) * { m = 60, h = 3600, d = 86400 }[regex("[mhd]$", local.interval)]
  )

  schedules = merge(
    { for name, schedule in var.additional_schedules : "for-${name}" => {
      expression = schedule.expression
      time_zone  = schedule.time_zone
      event      = { sources = sort(schedule.sources), force = schedule.force }
    } },
    { all = { expression = var.schedule.expression, time_zone = var.schedule.time_zone, event = {} } },
  )

  schedule_group_name = var.name
  schedule_group_arn  = "arn:${local.partition}:scheduler:${local.region}:${local.account}:schedule-group/${local.schedule_group_name}"
}

resource "aws_scheduler_schedule_group" "this" {
  name = local.schedule_group_name
}

resource "aws_scheduler_schedule" "this" {
  #checkov:skip=CKV_AWS_297: an event holds names of sources, no secret

  for_each = local.schedules

  name                         = "${var.name}-${each.key}"
  description                  = each.key == "all" ? "Harvests all sources" : "Harvests ${join(", ", each.value.event.sources)}"
  group_name                   = aws_scheduler_schedule_group.this.name
  schedule_expression          = each.value.expression
  schedule_expression_timezone = each.value.time_zone

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.this.arn
    role_arn = aws_iam_role.invoker.arn
    input    = jsonencode(each.value.event)

    retry_policy {
      maximum_event_age_in_seconds = min(max(local.interval_seconds, 60), 86400)
      maximum_retry_attempts       = 10
    }

    dead_letter_config {
      arn = aws_sqs_queue.dead_letters["schedule"].arn
    }
  }

  # The first run finds everything in place.
  depends_on = [
    aws_iam_role_policy.invoker,
    aws_lambda_function_event_invoke_config.this,
    aws_s3_bucket_policy.state,
    aws_s3_bucket_policy.tokens,
    aws_s3_bucket_server_side_encryption_configuration.this,
    aws_s3_bucket_versioning.this,
    aws_sns_topic_policy.messages,
  ]
}

resource "aws_iam_role" "invoker" {
  name        = "${var.name}-invoker"
  description = "What the schedules may do"
  assume_role_policy = templatefile("${path.module}/policies/invoker-trust.json.tftpl", {
    account   = local.account
    group_arn = local.schedule_group_arn
  })
}

resource "aws_iam_role_policy" "invoker" {
  name = "invoke"
  role = aws_iam_role.invoker.id
  policy = templatefile("${path.module}/policies/invoker.json.tftpl", {
    function_arn     = aws_lambda_function.this.arn
    dead_letters_arn = aws_sqs_queue.dead_letters["schedule"].arn
  })
}
