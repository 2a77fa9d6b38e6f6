# Two topics: `messages`, where the function tells of tokens and alerts, and `alarms`, where CloudWatch does. Alarms carry
# no attributes, so the filter by which mailboxes are spared the message of each new token would swallow them too.

locals {
  alert_kinds = ["alert"]

  # Where something ends up that could not be delivered; each has an alarm.
  dead_letter_queues = toset(concat(["failures", "schedule"], var.job_queue ? ["jobs"] : []))
}

resource "aws_sns_topic" "messages" {
  name              = var.name
  kms_master_key_id = local.kms_key_arn["messages"]
}

resource "aws_sns_topic_policy" "messages" {
  arn = aws_sns_topic.messages.arn
  policy = templatefile("${path.module}/policies/topic.json.tftpl", {
    partition = local.partition
    account   = local.account
    topic_arn = aws_sns_topic.messages.arn
  })
}

resource "aws_sns_topic_subscription" "alert_emails" {
  for_each = var.alert_emails

  topic_arn     = aws_sns_topic.messages.arn
  protocol      = "email"
  endpoint      = each.key
  filter_policy = jsonencode({ kind = local.alert_kinds })
}

resource "aws_sns_topic_subscription" "alert_urls" {
  for_each = var.alert_urls

  topic_arn     = aws_sns_topic.messages.arn
  protocol      = "https"
  endpoint      = each.key
  filter_policy = jsonencode({ kind = local.alert_kinds })
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = local.kms_key_arn["messages"]
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn
  policy = templatefile("${path.module}/policies/alarm-topic.json.tftpl", {
    account   = local.account
    topic_arn = aws_sns_topic.alarms.arn
  })
}

resource "aws_sns_topic_subscription" "alarm_emails" {
  for_each = var.alert_emails

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_sns_topic_subscription" "alarm_urls" {
  for_each = var.alert_urls

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "https"
  endpoint  = each.key
}

resource "aws_sqs_queue" "dead_letters" {
  for_each = local.dead_letter_queues

  name                      = "${var.name}-${each.key}-dead-letters"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue" "jobs" {
  count = var.job_queue ? 1 : 0

  name                       = "${var.name}-jobs"
  message_retention_seconds  = 345600
  visibility_timeout_seconds = 300
  sqs_managed_sse_enabled    = true

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters["jobs"].arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue_policy" "jobs" {
  count = var.job_queue ? 1 : 0

  queue_url = aws_sqs_queue.jobs[0].id
  policy = templatefile("${path.module}/policies/job-queue.json.tftpl", {
    queue_arn = aws_sqs_queue.jobs[0].arn
    topic_arn = aws_sns_topic.messages.arn
  })
}

resource "aws_sns_topic_subscription" "jobs" {
  count = var.job_queue ? 1 : 0

  topic_arn     = aws_sns_topic.messages.arn
  protocol      = "sqs"
  endpoint      = aws_sqs_queue.jobs[0].arn
  filter_policy = jsonencode({ kind = ["token"] })

  depends_on = [aws_sqs_queue_policy.jobs]
}
