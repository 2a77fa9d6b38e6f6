# Alarms that count what AWS itself sees of the function, so that they work when the function does not. Where they take a
# metric of the function's own, its absence counts as bad (`no-runs`), or `no-runs` has gone off before (`token-expiring`).

locals {
  runbook = coalesce(var.runbook_url, "docs/runbook.md")

  # Metrics come a minute late now and then: an alarm that counts by less than five minutes would ring for that.
  alarm_seconds = max(local.interval_seconds, 300)

  # 1 for each run that was asked for all sources and worked on at least one.
  complete_runs = {
    namespace  = "TokenHarvester"
    metric     = "complete_runs"
    dimensions = { environment = var.environment }
    statistic  = "Sum"
  }

  alarms = merge(
    {
      no-runs = {
        what       = "No harvest over all sources ended for two intervals of ${local.interval}, or there is no source. Tokens go stale from now on. Do: see that the schedule ${var.name}-all is enabled, the function is there and finds secrets under ${var.secret_prefix}, then run it once by hand."
        namespace  = local.complete_runs.namespace
        metric     = local.complete_runs.metric
        dimensions = local.complete_runs.dimensions
        statistic  = local.complete_runs.statistic
        comparison = "LessThanThreshold"
        threshold  = 1
        periods    = 2
        datapoints = 2
        missing    = "breaching"
      }
      runs-fail = {
        what       = "A harvest ended in an error, so not everybody who should have heard of it did. Do: read the error's type in the log, ${aws_cloudwatch_log_group.function.name}."
        namespace  = "AWS/Lambda"
        metric     = "Errors"
        dimensions = { FunctionName = local.function_name }
        statistic  = "Sum"
        comparison = "GreaterThanOrEqualToThreshold"
        threshold  = 1
        periods    = 1
        datapoints = 1
        missing    = "notBreaching"
      }
      runs-late = {
        what       = "A run began more than ${local.late_seconds} s after it was asked for. Do: see whether runs are throttled or take too long."
        namespace  = "AWS/Lambda"
        metric     = "AsyncEventAge"
        dimensions = { FunctionName = local.function_name }
        statistic  = "Maximum"
        comparison = "GreaterThanThreshold"
        threshold  = local.late_seconds * 1000
        periods    = 1
        datapoints = 1
        missing    = "notBreaching"
      }
      token-expiring = {
        what       = "After a run some token had less left than its source promises (min_ttl). Jobs fail once it has expired. Do: see on the dashboard which source it is, then force it."
        namespace  = "TokenHarvester"
        metric     = "seconds_above_min_ttl"
        dimensions = { environment = var.environment }
        statistic  = "Minimum"
        comparison = "LessThanThreshold"
        threshold  = 0
        periods    = 2
        datapoints = 1
        missing    = "notBreaching"
      }
    },
    {
      for use in local.dead_letter_queues : "${use}-dead-letters" => {
        what = {
          failures = "Runs failed for good, or waited too long. Do: read why in the messages of the queue, mend it, delete them; the next run does the work."
          schedule = "The schedule could not reach the function. Do: read why in the attributes of the queue's messages, mend it, delete them; the next run does the work."
          jobs     = "A job received messages of new tokens five times and never deleted them. Do: mend the job, then move the messages back."
        }[use]
        namespace  = "AWS/SQS"
        metric     = "ApproximateNumberOfMessagesVisible"
        dimensions = { QueueName = aws_sqs_queue.dead_letters[use].name }
        statistic  = "Maximum"
        comparison = "GreaterThanThreshold"
        threshold  = 0
        periods    = 1
        datapoints = 1
        missing    = "notBreaching"
      }
    },
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.what} ${local.runbook}#${endswith(each.key, "dead-letters") ? "dead-letters" : each.key}"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = each.value.namespace == "AWS/SQS" ? 300 : local.alarm_seconds
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.datapoints
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# Two schedules that fall into the same minute throttle one another, and Lambda tries again within minutes: that alone is
# no alarm, also where they do so each time. Only with no run over all sources besides is it one.
resource "aws_cloudwatch_metric_alarm" "throttled" {
  alarm_name          = "${var.name}-runs-throttled"
  alarm_description   = "Runs were turned away in two intervals of ${local.interval} in a row, and none over all sources came through: the one before had not ended, or the account's concurrency is used up. Do: compare the function's duration with its timeout and with ${local.interval}. ${local.runbook}#runs-throttled"
  evaluation_periods  = 2
  datapoints_to_alarm = 2
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "harmful"
    label       = "Runs turned away while none came through"
    expression  = "IF(FILL(complete, 0) < 1, throttles, 0)"
    return_data = true
  }

  metric_query {
    id = "complete"

    metric {
      namespace   = local.complete_runs.namespace
      metric_name = local.complete_runs.metric
      dimensions  = local.complete_runs.dimensions
      stat        = local.complete_runs.statistic
      period      = local.alarm_seconds
    }
  }

  metric_query {
    id = "throttles"

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      dimensions  = { FunctionName = local.function_name }
      stat        = "Sum"
      period      = local.alarm_seconds
    }
  }
}

moved {
  from = aws_cloudwatch_metric_alarm.this["runs-throttled"]
  to   = aws_cloudwatch_metric_alarm.throttled
}

locals {
  lambda_metric = { for name in ["Invocations", "Errors", "Throttles", "Duration"] : name => ["AWS/Lambda", name, "FunctionName", local.function_name] }
  own_metric    = { for name in ["refreshed", "failed", "deferred", "seconds_until_expiry", "seconds_above_min_ttl"] : name => ["TokenHarvester", name, "environment", var.environment] }

  # A row from top to bottom answers one question; widths are of 24.
  widgets = [
    { type = "alarm", x = 0, y = 0, width = 12, height = 5, properties = {
      title  = "Is everything well?"
      alarms = concat([for alarm in aws_cloudwatch_metric_alarm.this : alarm.arn], [aws_cloudwatch_metric_alarm.throttled.arn])
    } },
    { type = "metric", x = 12, y = 0, width = 6, height = 5, properties = {
      title  = "Is everything fresh? Seconds until the first token expires"
      region = local.region, view = "singleValue", sparkline = true, period = local.interval_seconds, stat = "Minimum"
      metrics = [
        concat(local.own_metric["seconds_until_expiry"], [{ label = "seconds left" }]),
      ]
    } },
    { type = "metric", x = 18, y = 0, width = 6, height = 5, properties = {
      title  = "Sources in the last run"
      region = local.region, view = "singleValue", period = local.interval_seconds, stat = "Maximum"
      metrics = [
        concat(local.own_metric["failed"], [{ color = "#d62728" }]),
        concat(local.own_metric["deferred"], [{ color = "#ff7f0e" }]),
        concat(local.own_metric["refreshed"], [{ color = "#2ca02c" }]),
      ]
    } },
    { type = "log", x = 0, y = 5, width = 12, height = 6, properties = {
      title  = "What expires next?"
      region = local.region, view = "table"
      query  = "SOURCE '${aws_cloudwatch_log_group.function.name}' | fields @timestamp, expires_first, seconds_until_expiry, lowest_source, seconds_above_min_ttl | filter ispresent(expires_first) | sort @timestamp desc | limit 5"
    } },
    { type = "metric", x = 12, y = 5, width = 12, height = 6, properties = {
      title  = "Seconds that the tightest token has above its min_ttl; below 0 jobs may find too little"
      region = local.region, view = "timeSeries", period = local.alarm_seconds, stat = "Minimum"
      metrics = [
        concat(local.own_metric["seconds_above_min_ttl"], [{ label = "seconds above min_ttl" }]),
      ]
      annotations = { horizontal = [{ label = "token-expiring", value = 0 }] }
    } },
    { type = "metric", x = 0, y = 11, width = 8, height = 6, properties = {
      title  = "Runs"
      region = local.region, view = "timeSeries", period = local.interval_seconds, stat = "Sum"
      metrics = [
        local.lambda_metric["Invocations"],
        concat(local.lambda_metric["Errors"], [{ color = "#d62728" }]),
        concat(local.lambda_metric["Throttles"], [{ color = "#ff7f0e" }]),
      ]
    } },
    { type = "metric", x = 8, y = 11, width = 8, height = 6, properties = {
      title  = "Sources refreshed, deferred, failed"
      region = local.region, view = "timeSeries", stacked = true, period = local.interval_seconds, stat = "Sum"
      metrics = [
        concat(local.own_metric["refreshed"], [{ color = "#2ca02c" }]),
        concat(local.own_metric["deferred"], [{ color = "#ff7f0e" }]),
        concat(local.own_metric["failed"], [{ color = "#d62728" }]),
      ]
    } },
    { type = "metric", x = 16, y = 11, width = 8, height = 6, properties = {
      title  = "How long a run takes (ms; the timeout is ${var.function.timeout} s)"
      region = local.region, view = "timeSeries", period = local.interval_seconds
      metrics = [
        concat(local.lambda_metric["Duration"], [{ stat = "p50", label = "half of them" }]),
        concat(local.lambda_metric["Duration"], [{ stat = "Maximum", label = "the longest" }]),
      ]
    } },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({ start = "-PT12H", widgets = local.widgets })
}
