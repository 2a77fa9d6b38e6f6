locals {
  schedules = merge(
    { for name, schedule in var.additional_schedules : "for-${name}" => {
      expression = schedule.expression
      time_zone  = schedule.time_zone
      # With the time that it was due, which Scheduler puts in, a forced event that is delivered twice refreshes once.
      event = merge(
        { sources = sort(schedule.sources), force = schedule.force },
        schedule.force ? { time = "<aws.scheduler.scheduled-time>" } : {},
      )
    } },
    { all = { expression = var.schedule.expression, time_zone = var.schedule.time_zone, event = {} } },
  )

  descriptions = merge(
    { all = "Harvests all sources" },
    { for name, schedule in var.additional_schedules : "for-${name}" => "Harvests ${join(", ", sort(schedule.sources))}" },
  )
  longest_description = 512

  schedule_group_name = var.name
  schedule_group_arn  = "arn:${local.partition}:scheduler:${local.region}:${local.account}:schedule-group/${local.schedule_group_name}"
}

resource "aws_scheduler_schedule_group" "this" {
  name = local.schedule_group_name
}

resource "aws_scheduler_schedule" "this" {
  #checkov:skip=CKV_AWS_297: an event holds names of sources, no secret

  for_each = local.schedules

  name = "${var.name}-${each.key}"
  description = (
    length(local.descriptions[each.key]) <= local.longest_description ? local.descriptions[each.key] :
    "Harvests ${length(each.value.event.sources)} sources, ${each.value.event.sources[0]} and others"
  )
  group_name                   = aws_scheduler_schedule_group.this.name
  schedule_expression          = each.value.expression
  schedule_expression_timezone = each.value.time_zone

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.this.arn
    role_arn = aws_iam_role.invoker.arn
    # `jsonencode` writes < and > as escapes, in which Scheduler would not find its keyword.
    input = replace(replace(jsonencode(each.value.event), "\\u003c", "<"), "\\u003e", ">")

    retry_policy {
      maximum_event_age_in_seconds = min(local.longest_wait_seconds, 86400)
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
  name                 = "${var.name}-invoker"
  description          = "What the schedules may do"
  permissions_boundary = var.permissions_boundary_arn
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
