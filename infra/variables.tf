# Whoever deploys sets `alert_emails`; all else has a default. Every rule below is checked before the first call to AWS;
# what only several variables together decide is in interval.tf.

locals {
  source_pattern = "^[a-z0-9][a-z0-9._-]{0,63}$"
  # No list of the zones is at hand: a name that looks right and does not exist is refused by AWS, in the middle of apply.
  time_zone_pattern = "^[A-Za-z]+(/[A-Za-z0-9_+-]+){0,2}$"
  role_pattern      = "^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$"
  key_pattern       = "^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$"
  rate_pattern      = "^rate\\((1 (minute|hour|day)|([2-9]|[1-9][0-9]{1,4}) (minutes|hours|days))\\)$"

  # A cron of EventBridge Scheduler: six fields, of whose two days one is `?`; each a list of values, ranges and steps.
  # https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based
  cron_values = {
    minute  = "[0-5]?[0-9]"
    hour    = "(?:[01]?[0-9]|2[0-3])"
    day     = "(?:0?[1-9]|[12][0-9]|3[01])"
    month   = "(?:0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)"
    weekday = "(?:[1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)"
    year    = "(?:19[7-9][0-9]|2[01][0-9]{2})"
  }
  cron_words = {
    day     = "|L(?:-[0-9]{1,2})?|LW|${local.cron_values.day}W"
    weekday = "|${local.cron_values.weekday}?L|${local.cron_values.weekday}#[1-5]"
  }
  cron_lists = {
    for field, value in local.cron_values : field => format(
      "(?:%[1]s)(?:,(?:%[1]s))*",
      "(?:\\*|${value}(?:-${value})?)(?:/[1-9][0-9]{0,2})?${lookup(local.cron_words, field, "")}",
    )
  }
  cron_pattern = format(
    "^cron\\(%s %s (?:\\? %s %s|%s %s \\?) %s\\)$",
    local.cron_lists.minute, local.cron_lists.hour, local.cron_lists.month, local.cron_lists.weekday,
    local.cron_lists.day, local.cron_lists.month, local.cron_lists.year,
  )
}

variable "alert_emails" {
  description = "E-mail addresses of the people on call. Each gets two mails to confirm, one per topic, and nothing before that."
  type        = set(string)
  nullable    = false

  validation {
    condition     = length(var.alert_emails) > 0
    error_message = "Name at least one address, such as [\"on-call@example.com\"]: without one nobody hears of an alarm."
  }

  validation {
    condition = alltrue([
      for address in var.alert_emails : can(regex("^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\\.)+[A-Za-z]{2,}$", address))
    ])
    error_message = "Every entry must be a plain e-mail address, such as on-call@example.com."
  }
}

variable "alert_urls" {
  description = <<-EOT
    Further subscribers of alerts and alarms: https addresses of on-call tools that take SNS's messages. The tool confirms
    both subscriptions. They stand in Terraform's state, so guard that if an address has a key in it.
  EOT
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for url in var.alert_urls : can(regex("^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[^\\s#]*)?$", url))])
    error_message = "Every address must be https, such as https://events.example.com/sns."
  }
}

variable "runbook_url" {
  description = "Page with the runbook, to whose anchors alarms and mails link (`<page>#<name>`). Unset: they name docs/runbook.md."
  type        = string
  default     = null

  validation {
    condition     = var.runbook_url == null || can(regex("^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[^\\s#\"<>]*)?$", var.runbook_url)) && length(coalesce(var.runbook_url, "-")) <= 400
    error_message = "It must be an https address of at most 400 characters without an anchor, such as https://wiki.example.com/token-harvester."
  }
}

variable "region" {
  description = "AWS region to deploy to. Unset: that of the environment or the profile."
  type        = string
  default     = null

  validation {
    condition     = var.region == null || can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "The region must look like eu-central-1."
  }
}

variable "name" {
  description = <<-EOT
    Name of the deployment; every resource is called by it. Two deployments in one account and region need two. Not to be
    changed later: that is a new deployment, and the old one's tokens and grants stay behind.
  EOT
  type        = string
  default     = "token-harvester"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name))
    error_message = "The name must be 3 to 24 of a-z, 0-9 and -, beginning with a letter, such as token-harvester."
  }

  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
  validation {
    condition     = !can(regex("^(xn--|sthree-|amzn-s3-demo-)", var.name))
    error_message = "S3 keeps names that begin with xn--, sthree- or amzn-s3-demo- for itself: take another, such as token-harvester."
  }
}

variable "environment" {
  description = "Names the deployment in messages and logs, and is the dimension of its metrics."
  type        = string
  default     = "prod"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{1,32}$", var.environment))
    error_message = "The environment must be 1 to 32 letters, digits, `.`, `_` and `-`, such as prod."
  }
}

variable "secret_prefix" {
  description = "The secrets whose names begin with it are sources. It ends in / so that no other secret is matched by accident."
  type        = string
  default     = "token-harvester/"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9/_+=.@-]{0,200}[A-Za-z0-9_+=.@-]/$", var.secret_prefix))
    error_message = "The prefix must be letters, digits and any of /_+=.@- and end in a single /, such as token-harvester/."
  }
}

variable "schedule" {
  description = <<-EOT
    When all sources are harvested, every day: `rate(...)` or `cron(...)` with its time zone. A `rate` is its own interval;
    beside a `cron` say the longest time between two of its runs as `interval`, from which it follows how early tokens are
    refreshed and when a missing run is an alarm. Where clocks change, the night is an hour longer once a year.
  EOT
  type = object({
    expression = optional(string, "rate(5 minutes)")
    interval   = optional(string)
    time_zone  = optional(string, "UTC")
  })
  default  = {}
  nullable = false

  validation {
    condition     = can(regex("^(rate|cron)\\(", var.schedule.expression))
    error_message = "The expression must be a rate or a cron, such as rate(15 minutes) or cron(0/15 6-22 ? * * *)."
  }

  validation {
    condition = !startswith(var.schedule.expression, "rate") || (
      can(regex(local.rate_pattern, var.schedule.expression)) &&
      can(regex("^rate\\((([1-9][0-9]{0,2}|1[0-3][0-9]{2}|14[0-3][0-9]|1440) minutes?|([1-9]|1[0-9]|2[0-4]) hours?|1 day)\\)$", var.schedule.expression))
    )
    error_message = "A rate must be a whole number of minutes or hours, a day at most, and 1 is of one minute or hour, such as rate(15 minutes)."
  }

  validation {
    condition     = !startswith(var.schedule.expression, "cron") || can(regex(local.cron_pattern, var.schedule.expression))
    error_message = "A cron has six fields (minute, hour, day of month, month, day of week, year), one of the two days is ?: such as cron(0/15 6-22 ? * * *)."
  }

  validation {
    condition     = startswith(var.schedule.expression, "rate") == (var.schedule.interval == null)
    error_message = "Say the interval beside a cron, and only there: the longest time between two of its runs, such as \"12h\"."
  }

  validation {
    condition     = var.schedule.interval == null || can(regex("^(([1-9][0-9]{0,2}|1[0-3][0-9]{2}|14[0-3][0-9]|1440)m|([1-9]|1[0-9]|2[0-4])h|1d)$", var.schedule.interval))
    error_message = "The interval must be whole minutes or hours, a day at most, such as \"15m\" or \"12h\"."
  }

  validation {
    condition     = can(regex(local.time_zone_pattern, var.schedule.time_zone))
    error_message = "The time zone must be one of the IANA database, such as Europe/Berlin."
  }
}

variable "additional_schedules" {
  description = <<-EOT
    Further schedules by name, each for the sources that it lists: what needs a refresh at a certain time, whether or not
    it is due (`force`), or more often than the rest.
  EOT
  type = map(object({
    expression = string
    time_zone  = optional(string, "UTC")
    sources    = set(string)
    force      = optional(bool, false)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name, _ in var.additional_schedules : can(regex("^[a-z0-9][a-z0-9-]{0,31}$", name))])
    error_message = "A schedule's name must be up to 32 of a-z, 0-9 and -, such as before-work."
  }

  validation {
    condition = alltrue([
      for schedule in values(var.additional_schedules) :
      can(regex(local.rate_pattern, schedule.expression)) || can(regex(local.cron_pattern, schedule.expression))
    ])
    error_message = "Every expression must be a rate, or a cron of six fields one of whose days is ?: such as rate(1 hour) or cron(30 5 ? * MON-FRI *)."
  }

  validation {
    condition     = alltrue([for schedule in values(var.additional_schedules) : can(regex(local.time_zone_pattern, schedule.time_zone))])
    error_message = "Every time zone must be one of the IANA database, such as Europe/Berlin."
  }

  validation {
    condition = alltrue([
      for schedule in values(var.additional_schedules) : length(schedule.sources) > 0 && alltrue([
        for source in schedule.sources : can(regex(local.source_pattern, source))
      ])
    ])
    error_message = "Every schedule must list its sources by name: up to 64 of a-z, 0-9, `.`, `_` and `-`, such as acme-crm."
  }
}

variable "reader_sources" {
  description = "Sources for which the output `reader_policies` holds a policy that lets a job read the source's token, and nothing more."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for source in var.reader_sources : can(regex(local.source_pattern, source))])
    error_message = "Every source must be up to 64 of a-z, 0-9, `.`, `_` and `-`, such as acme-crm."
  }
}

variable "reader_role_arns" {
  description = <<-EOT
    Roles of jobs that read tokens, those of other accounts too. Once any is named, the token bucket and its new key refuse
    everybody else, administrators too, but for the break-glass role. Roles of another account can read the tokens of
    `reader_sources`; within this account a role's own policy says which.
  EOT
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.reader_role_arns : can(regex(local.role_pattern, arn))])
    error_message = "Every reader must be a role's ARN, such as arn:aws:iam::123456789012:role/etl."
  }
}

variable "operator_role_arns" {
  description = <<-EOT
    Roles of people who are on call or look on, with the outputs `on_call_policy` or `viewer_policy`. Once any is named, the
    state bucket's new key decrypts for them, the function and the break-glass role only.
  EOT
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.operator_role_arns : can(regex(local.role_pattern, arn))])
    error_message = "Every operator must be a role's ARN, such as arn:aws:iam::123456789012:role/on-call."
  }
}

variable "kms_key_arns" {
  description = <<-EOT
    Your own KMS keys: for the token bucket, the state bucket, the topics and the function's log. New ones are made all the
    same, and kept, so that what they encrypted stays readable; `new_keys_too = false` makes none for what has its own, and
    is right in a first deployment only, since later it schedules the keys that were made for deletion. Those of `tokens`
    and `state` must leave rights to IAM, that of `messages` must let `cloudwatch.amazonaws.com` call
    `kms:GenerateDataKey*` and `kms:Decrypt`, or no alarm arrives, that of `logs` must serve `logs.<region>.amazonaws.com`.
  EOT
  type = object({
    tokens       = optional(string)
    state        = optional(string)
    messages     = optional(string)
    logs         = optional(string)
    new_keys_too = optional(bool, true)
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([
      for use in ["tokens", "state", "messages", "logs"] : var.kms_key_arns[use] == null || can(regex(local.key_pattern, var.kms_key_arns[use]))
    ])
    error_message = "Every key must be a key's ARN, not an alias, such as arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab."
  }

  validation {
    condition = length(compact([for use in ["tokens", "state", "messages"] : var.kms_key_arns[use]])) == length(distinct(compact([
      for use in ["tokens", "state", "messages"] : var.kms_key_arns[use]
    ])))
    error_message = "The keys must differ: who may decrypt tokens must not be able to decrypt refresh tokens, such as arn:...:key/1234... and arn:...:key/5678...."
  }
}

variable "former_key_arns" {
  description = <<-EOT
    Your own keys that were in `kms_key_arns` before: what they encrypted stays readable. Needed until nothing, no old
    version either, is encrypted with them any more. Keys that Terraform made need not be named.
  EOT
  type = object({
    tokens = optional(set(string), [])
    state  = optional(set(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for arn in setunion(var.former_key_arns.tokens, var.former_key_arns.state) : can(regex(local.key_pattern, arn))])
    error_message = "Every key must be a key's ARN, not an alias, such as arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab."
  }
}

variable "old_versions" {
  description = "How long old versions of objects are kept, in days, and how many at least."
  type = object({
    days = optional(number, 30)
    keep = optional(number, 5)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.old_versions.days >= 1 && var.old_versions.days <= 3650 && floor(var.old_versions.days) == var.old_versions.days
    error_message = "The days must be a whole number from 1 to 3650, such as 30."
  }

  validation {
    condition     = var.old_versions.keep >= 5 && var.old_versions.keep <= 100 && floor(var.old_versions.keep) == var.old_versions.keep
    error_message = "At least 5 versions are kept, at most 100, such as 5: a grant may have to be restored."
  }
}

variable "access_log_bucket" {
  description = "Existing bucket in this region for the access logs of both buckets. Unset: none are written."
  type        = string
  default     = null

  validation {
    condition     = var.access_log_bucket == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.access_log_bucket))
    error_message = "The access log bucket must be a bucket's name, such as example-access-logs."
  }
}

variable "break_glass_role_arn" {
  description = "Role that people take on to read or mend grants and leases by hand. Unset: only the function touches them."
  type        = string
  default     = null

  validation {
    condition     = var.break_glass_role_arn == null || can(regex(local.role_pattern, var.break_glass_role_arn))
    error_message = "It must be a role's ARN, such as arn:aws:iam::123456789012:role/break-glass."
  }
}

variable "permissions_boundary_arn" {
  description = "Managed policy that bounds the roles of the function and of the schedules, where the account wants one."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/[A-Za-z0-9+=,.@_/-]+$", var.permissions_boundary_arn))
    error_message = "It must be a policy's ARN, such as arn:aws:iam::123456789012:policy/boundary."
  }
}

variable "architecture" {
  description = "Processor of the function. `make build` makes the zip for x86_64, `make build ARCH=arm64` that for Graviton."
  type        = string
  default     = "x86_64"
  nullable    = false

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "The architecture must be x86_64 or arm64."
  }
}

variable "function_zip" {
  description = "Path of the function's zip. Unset: where `make build` puts it."
  type        = string
  default     = null

  validation {
    condition     = var.function_zip == null || can(regex("\\.zip$", var.function_zip))
    error_message = "It must be the path of a zip, such as ../target/lambda/arm64/bootstrap/bootstrap.zip."
  }
}

variable "function" {
  description = <<-EOT
    The function's size: memory in MB, timeout in seconds, how many sources it works on at once, how many runs there may
    be at once (-1: no limit of its own, for accounts too young to reserve any), and what its log keeps. Subnets and
    security groups put it into a VPC, from which it must reach AWS and the authorization servers.
  EOT
  type = object({
    memory               = optional(number, 128)
    timeout              = optional(number, 300)
    max_concurrency      = optional(number, 32)
    reserved_concurrency = optional(number, 1)
    log_level            = optional(string, "INFO")
    log_retention_days   = optional(number, 30)
    subnet_ids           = optional(set(string), [])
    security_group_ids   = optional(set(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.function.memory >= 128 && var.function.memory <= 10240 && floor(var.function.memory) == var.function.memory
    error_message = "The memory must be a whole number of MB from 128 to 10240, such as 128."
  }

  validation {
    condition     = var.function.timeout >= 30 && var.function.timeout <= 900 && floor(var.function.timeout) == var.function.timeout
    error_message = "The timeout must be a whole number of seconds from 30 to 900, such as 300."
  }

  validation {
    condition     = var.function.max_concurrency >= 1 && var.function.max_concurrency <= 1000 && floor(var.function.max_concurrency) == var.function.max_concurrency
    error_message = "The concurrency must be a whole number from 1 to 1000, such as 32."
  }

  validation {
    condition     = contains([-1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], var.function.reserved_concurrency)
    error_message = "The reserved concurrency must be from 1 to 10, or -1 for none, such as 1."
  }

  # The metrics record has no level, which Lambda takes for INFO: a higher level would drop it.
  validation {
    condition     = contains(["TRACE", "DEBUG", "INFO"], var.function.log_level)
    error_message = "The log level must be TRACE, DEBUG or INFO, such as INFO: anything higher drops the metrics too."
  }

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.function.log_retention_days)
    error_message = "The retention must be one of CloudWatch's numbers of days, such as 30, 90 or 365."
  }

  validation {
    condition     = (length(var.function.subnet_ids) == 0) == (length(var.function.security_group_ids) == 0)
    error_message = "A VPC needs both, such as subnet_ids = [\"subnet-0a1b2c3d\"] and security_group_ids = [\"sg-0a1b2c3d\"]."
  }

  validation {
    condition = (
      alltrue([for id in var.function.subnet_ids : can(regex("^subnet-[0-9a-f]{8,17}$", id))]) &&
      alltrue([for id in var.function.security_group_ids : can(regex("^sg-[0-9a-f]{8,17}$", id))])
    )
    error_message = "Subnets and security groups are named by their ids, such as subnet-0a1b2c3d and sg-0a1b2c3d."
  }
}

variable "job_queue" {
  description = "Whether to make a queue that receives a message for each new token, for jobs that wait for it."
  type        = bool
  default     = false
  nullable    = false
}

variable "delete_data_on_destroy" {
  description = "Whether `make destroy` deletes all tokens and grants with their versions. Otherwise it does not begin while a bucket has any."
  type        = bool
  default     = false
  nullable    = false
}

variable "tags" {
  description = "Tags for every resource, beside `application` and `deployment`."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for key, value in var.tags : can(regex("^[\\w .:/=+@-]{1,128}$", key)) && !startswith(lower(key), "aws:") && can(regex("^[\\w .:/=+@-]{0,256}$", value))])
    error_message = "Tags must be letters, digits, spaces and any of _.:/=+@-, their keys not beginning with aws:, such as { team = \"data\" }."
  }

  validation {
    condition     = length(setintersection([for key in keys(var.tags) : lower(key)], ["application", "deployment"])) == 0
    error_message = "The tags application and deployment are set already, in whatever case: take others, such as { team = \"data\" }."
  }

  # IAM's tags do not tell cases apart.
  validation {
    condition     = length(distinct([for key in keys(var.tags) : lower(key)])) == length(var.tags)
    error_message = "Two tags differ in case only, which IAM refuses: name each once, such as { team = \"data\" }."
  }
}
