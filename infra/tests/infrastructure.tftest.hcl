# What Terraform plans, with a mock of the provider: no account, no network. `make infra-check` runs it, on a copy that has
# a function.zip. The policies are tried by test_policies.py, the variables' rules by test_variables.py.

mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }

  mock_data "aws_region" {
    defaults = { id = "eu-central-1" }
  }

  mock_data "aws_s3_bucket" {
    defaults = { id = "example-access-logs" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { id = "mock" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/made", key_id = "made" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
  }

  mock_resource "aws_lambda_function" {
    defaults = { arn = "arn:aws:lambda:eu-central-1:123456789012:function:mock" }
  }

  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:mock" }
  }

  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:eu-central-1:123456789012:mock" }
  }

  mock_resource "aws_cloudwatch_metric_alarm" {
    defaults = { arn = "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:mock" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:mock" }
  }
}

variables {
  alert_emails = ["on-call@example.com"]
  function_zip = "./tests/function.zip"
}

run "an_address_suffices" {
  command = plan

  assert {
    condition     = keys(aws_scheduler_schedule.this) == ["all"] && aws_scheduler_schedule.this["all"].schedule_expression == "rate(5 minutes)"
    error_message = "One schedule, every 5 minutes."
  }

  assert {
    condition     = aws_scheduler_schedule.this["all"].target[0].input == "{}"
    error_message = "It harvests all sources."
  }

  assert {
    condition     = local.function_environment.SCHEDULE_INTERVAL == "5m" && output.interval == "5m" && aws_cloudwatch_metric_alarm.this["no-runs"].period == 300
    error_message = "The function and the alarm count by the schedule's interval."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["no-runs"].treat_missing_data == "breaching"
    error_message = "No data is an alarm."
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["no-runs"].metric_name == "complete_runs" && aws_cloudwatch_metric_alarm.this["no-runs"].namespace == "TokenHarvester" &&
      aws_cloudwatch_metric_alarm.this["no-runs"].dimensions == tomap({ environment = "prod" })
    )
    error_message = "Only runs over all sources count, not those of a further schedule."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["token-expiring"].metric_name == "seconds_above_min_ttl" && aws_cloudwatch_metric_alarm.this["token-expiring"].threshold == 0
    error_message = "Each source is measured against its own min_ttl."
  }

  assert {
    condition = (
      one([for query in aws_cloudwatch_metric_alarm.throttled.metric_query : query.expression if query.return_data == true]) == "IF(FILL(complete, 0) < 1, throttles, 0)" &&
      { for query in aws_cloudwatch_metric_alarm.throttled.metric_query : query.id => query.metric[0].metric_name if length(query.metric) > 0 } == { complete = "complete_runs", throttles = "Throttles" }
    )
    error_message = "Runs that are throttled beside a complete one are no alarm."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["runs-late"].threshold == 600000 && aws_lambda_function_event_invoke_config.this.maximum_event_age_in_seconds == 900
    error_message = "An event that waits for another schedule's run is neither late nor lost."
  }

  assert {
    condition = alltrue([
      for widget in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets :
      !(can(widget.properties.metrics) && can(widget.properties.annotations.alarms))
    ])
    error_message = "CloudWatch takes a widget's metrics or an alarm's annotation, not both."
  }

  assert {
    condition     = output.dashboard_url == "https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1#dashboards/dashboard/token-harvester"
    error_message = "The console has a host for each region."
  }

  assert {
    condition     = !contains(keys(local.function_environment), "RUNBOOK_URL")
    error_message = "Without an address the function is told none."
  }

  assert {
    condition     = length(aws_lambda_function.this.vpc_config) == 0 && length(aws_iam_role_policy.network) == 0
    error_message = "No VPC unless one is named."
  }

  assert {
    condition = (
      jsondecode(aws_s3_bucket_policy.tokens.policy).Statement[3].Condition == { ArnNotLike = { "aws:PrincipalArn" = ["arn:aws:*:*:123456789012:*"] } } &&
      jsondecode(aws_kms_key.this["state"].policy).Statement[2].Condition.ArnLike == { "aws:PrincipalArn" = ["arn:aws:*:*:123456789012:*"] }
    )
    error_message = "With nobody named, IAM decides within the account."
  }

  assert {
    condition = (
      tolist([for rule in aws_s3_bucket_lifecycle_configuration.this["state"].rule : "${rule.filter[0].prefix} ${coalesce(rule.noncurrent_version_expiration[0].newer_noncurrent_versions, 0)}" if length(rule.noncurrent_version_expiration) > 0])
      == tolist(["catalog.json 0", "forecasts/ 0", "grants/ 5", "incidents/ 0", "leases/ 0", "reports/ 0"])
    )
    error_message = "Old grants are kept; what is deleted and made anew all the time keeps no old version for ever."
  }

  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this["state"].rule : rule.expiration[0].days if rule.id == "end-old-reports"] == [30]
    error_message = "Reports are kept for 30 days."
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
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : strcontains(alarm.alarm_description, "Do: ") && strcontains(alarm.alarm_description, "docs/runbook.md#")]) && endswith(aws_cloudwatch_metric_alarm.throttled.alarm_description, " docs/runbook.md#runs-throttled")
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

run "what_people_read_is_short_enough" {
  command = plan

  variables {
    additional_schedules = {
      many = { expression = "rate(1 hour)", sources = [for number in range(25) : format("abcdefghijklmnopqrstuvw%02d", number)] }
      few  = { expression = "rate(1 hour)", sources = ["b", "a"] }
    }
    job_queue     = true
    name          = "abcdefghijklmnopqrstuvwx"
    secret_prefix = "${join("", [for _ in range(200) : "p"])}/"
    runbook_url   = "https://example.com/${join("", [for _ in range(380) : "u"])}"
  }

  assert {
    condition     = alltrue([for schedule in aws_scheduler_schedule.this : length(schedule.description) <= 512])
    error_message = "A schedule's description has at most 512 characters."
  }

  assert {
    condition     = aws_scheduler_schedule.this["for-few"].description == "Harvests a, b" && startswith(aws_scheduler_schedule.this["for-many"].description, "Harvests 25 sources")
    error_message = "It names the sources, or says how many they are."
  }

  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), [aws_cloudwatch_metric_alarm.throttled]) : length(alarm.alarm_description) <= 1024])
    error_message = "An alarm's description has at most 1024 characters."
  }
}

run "a_cron_says_its_interval" {
  command = plan

  variables {
    schedule = { expression = "cron(0 6-22 ? * * *)", time_zone = "Europe/Berlin", interval = "9h" }
  }

  assert {
    condition     = local.function_environment.SCHEDULE_INTERVAL == "9h" && local.interval_seconds == 32400
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

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["runs-late"].threshold == 43200000 && aws_scheduler_schedule.this["all"].target[0].retry_policy[0].maximum_event_age_in_seconds == 86400
    error_message = "A long interval leaves time."
  }
}

run "more_of_everything" {
  command = plan

  variables {
    additional_schedules = {
      before-work = { expression = "cron(30 5 ? * MON-FRI *)", sources = ["b", "a"], force = true }
    }
    job_queue         = true
    alert_urls        = ["https://events.example.com/sns"]
    runbook_url       = "https://wiki.example.com/token-harvester"
    access_log_bucket = "example-access-logs"
    kms_key_arns      = { tokens = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd" }
  }

  assert {
    condition     = jsondecode(aws_scheduler_schedule.this["for-before-work"].target[0].input) == { sources = ["a", "b"], force = true, time = "<aws.scheduler.scheduled-time>" }
    error_message = "A further schedule names its sources, and when it was due."
  }

  assert {
    condition     = strcontains(aws_scheduler_schedule.this["for-before-work"].target[0].input, "\"<aws.scheduler.scheduled-time>\"")
    error_message = "Scheduler finds its keyword, unescaped."
  }

  assert {
    condition = (
      local.function_environment.RUNBOOK_URL == "https://wiki.example.com/token-harvester" &&
      alltrue([for alarm in aws_cloudwatch_metric_alarm.this : strcontains(alarm.alarm_description, " https://wiki.example.com/token-harvester#")])
    )
    error_message = "Alarms and the function know where the runbook is."
  }

  assert {
    condition = (
      aws_sns_topic_subscription.alert_urls["https://events.example.com/sns"].filter_policy == jsonencode({ kind = ["alert"] }) &&
      aws_sns_topic_subscription.alarm_urls["https://events.example.com/sns"].protocol == "https"
    )
    error_message = "An on-call tool hears alerts and alarms."
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
    condition     = toset(keys(aws_kms_key.this)) == toset(["tokens", "state", "messages"]) && local.function_environment.TOKEN_KMS_KEY_ID == "arn:aws:kms:eu-central-1:123456789012:key/1234abcd"
    error_message = "One's own key takes the place of a new one, which is kept."
  }

  assert {
    condition = (
      jsondecode(aws_s3_bucket_policy.tokens.policy).Statement[1].Condition.StringNotEquals["s3:x-amz-server-side-encryption-aws-kms-key-id"]
      == ["arn:aws:kms:eu-central-1:123456789012:key/1234abcd", "arn:aws:kms:eu-central-1:123456789012:key/made"]
    )
    error_message = "What the new key encrypted can still be replaced by a run that has not ended."
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

run "former_keys_stay_readable" {
  command = plan

  variables {
    kms_key_arns = {
      tokens       = "arn:aws:kms:eu-central-1:123456789012:key/tokens-2"
      state        = "arn:aws:kms:eu-central-1:123456789012:key/state-2"
      new_keys_too = false
    }
    former_key_arns = {
      tokens = ["arn:aws:kms:eu-central-1:123456789012:key/tokens-1"]
      state  = ["arn:aws:kms:eu-central-1:123456789012:key/state-1"]
    }
    reader_sources = ["acme-crm"]
  }

  assert {
    condition     = toset(keys(aws_kms_key.this)) == toset(["messages"])
    error_message = "No key is made for what has its own, if that is said."
  }

  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Sid => statement.Resource if strcontains(statement.Sid, "State") && statement.Sid != "KeepState" && statement.Sid != "ListState"
    } == { EncryptAndDecryptState = ["arn:aws:kms:eu-central-1:123456789012:key/state-2", "arn:aws:kms:eu-central-1:123456789012:key/state-1"] }
    error_message = "The function reads grants that a former key encrypted."
  }

  assert {
    condition     = jsondecode(output.reader_policies["acme-crm"]).Statement[1].Resource == ["arn:aws:kms:eu-central-1:123456789012:key/tokens-2", "arn:aws:kms:eu-central-1:123456789012:key/tokens-1"]
    error_message = "Jobs read tokens that a former key encrypted."
  }

  assert {
    condition     = strcontains(output.runbook_variables, "export TOKEN_KMS_KEY_ID=arn:aws:kms:eu-central-1:123456789012:key/tokens-2 STATE_KMS_KEY_ID=arn:aws:kms:eu-central-1:123456789012:key/state-2\n")
    error_message = "What is written by hand is written with the present keys."
  }
}

run "readers_and_operators_are_named" {
  command = plan

  variables {
    reader_role_arns     = ["arn:aws:iam::123456789012:role/etl", "arn:aws:iam::999999999999:role/team/etl"]
    reader_sources       = ["acme-crm"]
    operator_role_arns   = ["arn:aws:iam::123456789012:role/on-call"]
    break_glass_role_arn = "arn:aws:iam::123456789012:role/break-glass"
  }

  assert {
    condition = (
      jsondecode(aws_s3_bucket_policy.tokens.policy).Statement[2].Principal.AWS == ["arn:aws:iam::123456789012:root", "arn:aws:iam::999999999999:root"] &&
      jsondecode(aws_s3_bucket_policy.tokens.policy).Statement[2].Resource == ["arn:aws:s3:::token-harvester-tokens-123456789012-eu-central-1/tokens/acme-crm.json"] &&
      jsondecode(aws_kms_key.this["tokens"].policy).Statement[2].Principal.AWS == ["arn:aws:iam::123456789012:root", "arn:aws:iam::999999999999:root"]
    )
    error_message = "Another account's role reads the named tokens."
  }

  assert {
    condition = (
      jsondecode(aws_s3_bucket_policy.tokens.policy).Statement[3].Condition.ArnNotLike["aws:PrincipalArn"] == [
        "arn:aws:iam::123456789012:role/token-harvester-function",
        "arn:aws:iam::123456789012:role/break-glass",
        "arn:aws:iam::123456789012:role/etl",
        "arn:aws:iam::999999999999:role/team/etl",
        "arn:aws:iam::123456789012:role/on-call",
      ]
    )
    error_message = "Nobody else reads any."
  }

  assert {
    condition = (
      jsondecode(aws_kms_key.this["tokens"].policy).Statement[2].Condition.ArnLike["aws:PrincipalArn"] == [
        "arn:aws:iam::123456789012:role/etl", "arn:aws:iam::999999999999:role/team/etl", "arn:aws:iam::123456789012:role/break-glass",
      ]
    )
    error_message = "Operators can't decrypt a token."
  }

  assert {
    condition = (
      jsondecode(aws_kms_key.this["state"].policy).Statement[2].Condition.ArnLike["aws:PrincipalArn"] == [
        "arn:aws:iam::123456789012:role/token-harvester-function", "arn:aws:iam::123456789012:role/break-glass", "arn:aws:iam::123456789012:role/on-call",
      ]
    )
    error_message = "The state's key names who may decrypt."
  }
}

run "an_account_with_rules_of_its_own" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
    kms_key_arns             = { logs = "arn:aws:kms:eu-central-1:123456789012:key/logs" }
    function                 = { subnet_ids = ["subnet-0a1b2c3d"], security_group_ids = ["sg-0a1b2c3d"] }
  }

  assert {
    condition     = aws_iam_role.function.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary" && aws_iam_role.invoker.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary"
    error_message = "Both roles are bounded."
  }

  assert {
    condition     = aws_cloudwatch_log_group.function.kms_key_id == "arn:aws:kms:eu-central-1:123456789012:key/logs"
    error_message = "The log has the key that is named."
  }

  assert {
    condition     = aws_lambda_function.this.vpc_config[0].subnet_ids == toset(["subnet-0a1b2c3d"]) && length(aws_iam_role_policy.network) == 1
    error_message = "In a VPC Lambda may make network interfaces."
  }

  assert {
    condition     = jsondecode(aws_iam_role.function.assume_role_policy).Statement[0].Condition == { StringEquals = { "aws:SourceAccount" = "123456789012" } }
    error_message = "Only Lambda in this account takes on the role."
  }
}

run "china_has_a_console_of_its_own" {
  command = plan

  override_data {
    target          = data.aws_partition.current
    override_during = plan
    values          = { partition = "aws-cn", dns_suffix = "amazonaws.com.cn" }
  }

  override_data {
    target          = data.aws_region.current
    override_during = plan
    values          = { id = "cn-north-1" }
  }

  assert {
    condition     = startswith(output.dashboard_url, "https://console.amazonaws.cn/cloudwatch/home?region=cn-north-1#")
    error_message = "The console's host is the partition's."
  }
}

run "a_schedule_that_can_not_keep_its_interval_is_refused" {
  command = plan

  variables {
    schedule = { expression = "cron(0 6-22 ? * * *)", interval = "7h" }
  }

  expect_failures = [output.interval]
}
