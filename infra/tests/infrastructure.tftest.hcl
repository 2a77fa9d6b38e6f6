# What Terraform plans, with a mock of the provider: no account, no network. `make infra-check` runs it, on a copy that has
# a function.zip. The policies are tried by test_policies.py, the variables' rules by test_variables.py.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }

  mock_data "aws_region" {
    defaults = { id = "eu-central-1" }
  }
}

variables {
  alert_emails = ["on-call@example.com"]
  function_zip = "./tests/function.zip"
}

run "an_address_suffices" {
  command = plan

  assert {
    condition     = keys(aws_scheduler_schedule.this) == ["all"] && aws_scheduler_schedule.this["all"].schedule_expression == "rate(15 minutes)"
    error_message = "One schedule, every 15 minutes."
  }

  assert {
    condition     = aws_scheduler_schedule.this["all"].target[0].input == "{}"
    error_message = "It harvests all sources."
  }

  assert {
    condition     = local.function_environment.SCHEDULE_INTERVAL == "15m" && aws_cloudwatch_metric_alarm.this["no-runs"].period == 900
    error_message = "The function and the alarm count by the schedule's interval."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["no-runs"].treat_missing_data == "breaching"
    error_message = "No data is an alarm."
  }

  assert {
    condition = (
      aws_lambda_function.this.memory_size == 128 && aws_lambda_function.this.reserved_concurrent_executions == 1 &&
      aws_lambda_function.this.runtime == "provided.al2023" && tolist(aws_lambda_function.this.architectures) == tolist(["x86_64"])
    )
    error_message = "The smallest function, one run at a time."
  }

  assert {
    condition     = toset(keys(aws_sqs_queue.dead_letters)) == toset(["failures", "schedule"]) && length(aws_sqs_queue.jobs) == 0
    error_message = "Two dead-letter queues, none for jobs."
  }

  assert {
    condition     = jsondecode(aws_sns_topic_subscription.alert_emails["on-call@example.com"].filter_policy) == { kind = ["alert"] }
    error_message = "People are spared the message of each new token."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : strcontains(alarm.alarm_description, "Do: ") && strcontains(alarm.alarm_description, "docs/runbook.md#")])
    error_message = "Every alarm says what to do and where to read on."
  }
}

run "names_are_short_enough" {
  command = plan

  variables {
    name                 = "abcdefghijklmnopqrstuvwx"
    additional_schedules = { abcdefghijklmnopqrstuvwxyz012345 = { expression = "rate(1 hour)", sources = ["a"] } }
  }

  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : length(bucket.bucket) <= 63])
    error_message = "A bucket's name has at most 63 characters."
  }

  assert {
    condition     = alltrue([for schedule in aws_scheduler_schedule.this : length(schedule.name) <= 64])
    error_message = "A schedule's name has at most 64 characters."
  }
}

run "a_cron_says_its_interval" {
  command = plan

  variables {
    schedule = { expression = "cron(0 6-22 ? * * *)", time_zone = "Europe/Berlin", interval = "8h" }
  }

  assert {
    condition     = local.function_environment.SCHEDULE_INTERVAL == "8h" && local.interval_seconds == 28800
    error_message = "The interval beside a cron is the function's."
  }

  assert {
    condition     = aws_scheduler_schedule.this["all"].schedule_expression_timezone == "Europe/Berlin"
    error_message = "A cron is read in its time zone."
  }
}

run "every_rate_is_an_interval" {
  command = plan

  variables {
    schedule = { expression = "rate(1 day)" }
  }

  assert {
    condition     = local.function_environment.SCHEDULE_INTERVAL == "1d" && local.interval_seconds == 86400
    error_message = "A day is 1d."
  }

  assert {
    condition     = aws_lambda_function_event_invoke_config.this.maximum_event_age_in_seconds == 21600
    error_message = "Lambda keeps an event for 6 hours at most."
  }
}

run "more_of_everything" {
  command = plan

  variables {
    additional_schedules = {
      before-work = { expression = "cron(30 5 ? * MON-FRI *)", sources = ["b", "a"], force = true }
    }
    job_queue         = true
    access_log_bucket = "example-access-logs"
    kms_key_arns      = { tokens = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd" }
  }

  assert {
    condition     = jsondecode(aws_scheduler_schedule.this["for-before-work"].target[0].input) == { sources = ["a", "b"], force = true }
    error_message = "A further schedule names its sources."
  }

  assert {
    condition     = jsondecode(aws_sns_topic_subscription.jobs[0].filter_policy) == { kind = ["token"] }
    error_message = "Jobs hear of tokens only."
  }

  assert {
    condition     = contains(keys(aws_cloudwatch_metric_alarm.this), "jobs-dead-letters")
    error_message = "Every dead-letter queue has its alarm."
  }

  assert {
    condition     = toset(keys(aws_kms_key.this)) == toset(["state", "messages"]) && local.function_environment.TOKEN_KMS_KEY_ID == "arn:aws:kms:eu-central-1:123456789012:key/1234abcd"
    error_message = "One's own key takes the place of a new one."
  }

  assert {
    condition     = toset(keys(aws_s3_bucket_logging.this)) == toset(["state", "tokens"])
    error_message = "Both buckets' accesses are logged."
  }
}

run "a_missing_zip_is_named" {
  command = plan

  variables {
    function_zip = "./tests/missing.zip"
  }

  expect_failures = [aws_lambda_function.this]
}
