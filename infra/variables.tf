# Whoever deploys sets `alert_emails`; all else has a default. Every rule below is checked before the first call to AWS.

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
  description = "Name of the deployment; every resource is called by it. Two deployments in one account and region need two."
  type        = string
  default     = "token-harvester"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name))
    error_message = "The name must be 3 to 24 of a-z, 0-9 and -, beginning with a letter, such as token-harvester."
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
    When all sources are harvested: `rate(...)` or `cron(...)` with its time zone. A `rate` is its own interval; beside a
    `cron` say the longest time between two of its runs as `interval`, from which it follows how early tokens are
    refreshed and when a missing run is an alarm.
  EOT
  type = object({
    expression = optional(string, "rate(15 minutes)")
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
    condition     = !startswith(var.schedule.expression, "rate") || can(regex("^rate\\((([1-9][0-9]{0,2}|1[0-3][0-9]{2}|14[0-3][0-9]|1440) minutes?|([1-9]|1[0-9]|2[0-4]) hours?|1 day)\\)$", var.schedule.expression))
    error_message = "A rate must be a whole number of minutes or hours, a day at most, such as rate(15 minutes)."
  }

  validation {
    condition = !startswith(var.schedule.expression, "cron") || (
      can(regex("^cron\\([0-9*,/-]+ [0-9*,/-]+ (\\?|[0-9*,/LW-]+) [0-9A-Z*,/-]+ (\\?|[0-9A-Z*,/#-]+) [0-9*,/-]+\\)$", var.schedule.expression)) &&
      # Exactly one of day of month and day of week says "any".
      length(regexall("\\?", var.schedule.expression)) == 1 &&
      alltrue(flatten([
        for index, field in split(" ", trimsuffix(trimprefix(var.schedule.expression, "cron("), ")")) : [
          for number in regexall("[0-9]+", field) :
          tonumber(number) >= [0, 0, 1, 1, 1, 1][min(index, 5)] && tonumber(number) <= [59, 23, 31, 12, 7, 2199][min(index, 5)]
        ]
      ]))
    )
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
    condition     = can(regex("^[A-Za-z]+(/[A-Za-z0-9_+-]+){0,2}$", var.schedule.time_zone))
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
      can(regex("^rate\\([1-9][0-9]{0,3} (minute|hour|day)s?\\)$", schedule.expression)) || (
        can(regex("^cron\\([0-9*,/-]+ [0-9*,/-]+ (\\?|[0-9*,/LW-]+) [0-9A-Z*,/-]+ (\\?|[0-9A-Z*,/#-]+) [0-9*,/-]+\\)$", schedule.expression)) &&
        length(regexall("\\?", schedule.expression)) == 1 &&
        alltrue(flatten([
          for index, field in split(" ", trimsuffix(trimprefix(schedule.expression, "cron("), ")")) : [
            for number in regexall("[0-9]+", field) :
            tonumber(number) >= [0, 0, 1, 1, 1, 1][min(index, 5)] && tonumber(number) <= [59, 23, 31, 12, 7, 2199][min(index, 5)]
          ]
        ]))
      )
    ])
    error_message = "Every expression must be a rate, or a cron of six fields one of whose days is ?: such as rate(1 hour) or cron(30 5 ? * MON-FRI *)."
  }

  validation {
    condition = alltrue([
      for schedule in values(var.additional_schedules) : can(regex("^[A-Za-z]+(/[A-Za-z0-9_+-]+){0,2}$", schedule.time_zone))
    ])
    error_message = "Every time zone must be one of the IANA database, such as Europe/Berlin."
  }

  validation {
    condition = alltrue([
      for schedule in values(var.additional_schedules) : length(schedule.sources) > 0 && alltrue([
        for source in schedule.sources : can(regex("^[a-z0-9][a-z0-9._-]{0,63}$", source))
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
    condition     = alltrue([for source in var.reader_sources : can(regex("^[a-z0-9][a-z0-9._-]{0,63}$", source))])
    error_message = "Every source must be up to 64 of a-z, 0-9, `.`, `_` and `-`, such as acme-crm."
  }
}

variable "kms_key_arns" {
  description = <<-EOT
    Your own KMS keys instead of new ones: for the token bucket, the state bucket and the topics. That of `messages` must
    let `cloudwatch.amazonaws.com` call `kms:GenerateDataKey*` and `kms:Decrypt`, or no alarm arrives.
  EOT
  type = object({
    tokens   = optional(string)
    state    = optional(string)
    messages = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([
      for arn in values(var.kms_key_arns) :
      arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn))
    ])
    error_message = "Every key must be a key's ARN, not an alias, such as arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab."
  }

  validation {
    condition     = length(compact(values(var.kms_key_arns))) == length(distinct(compact(values(var.kms_key_arns))))
    error_message = "The keys must differ: who may decrypt tokens must not be able to decrypt refresh tokens, such as arn:...:key/1234... and arn:...:key/5678...."
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
  description = "Role that people take on to read or mend grants and incidents by hand. Unset: only the function touches them."
  type        = string
  default     = null

  validation {
    condition     = var.break_glass_role_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$", var.break_glass_role_arn))
    error_message = "It must be a role's ARN, such as arn:aws:iam::123456789012:role/break-glass."
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
    be at once (-1: no limit of its own, for accounts too young to reserve any), and what its log keeps.
  EOT
  type = object({
    memory               = optional(number, 128)
    timeout              = optional(number, 300)
    max_concurrency      = optional(number, 32)
    reserved_concurrency = optional(number, 1)
    log_level            = optional(string, "INFO")
    log_retention_days   = optional(number, 30)
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
}

variable "minimum_seconds_until_expiry" {
  description = "An alarm is raised when the token that expires first has less than this left after a run. Healthy sources keep at least their `min_ttl`, 600 by default."
  type        = number
  default     = 600
  nullable    = false

  validation {
    condition     = var.minimum_seconds_until_expiry >= 0 && var.minimum_seconds_until_expiry <= 604800
    error_message = "It must be a number of seconds from 0 (only once a token has expired) to 604800, such as 600."
  }
}

variable "job_queue" {
  description = "Whether to make a queue that receives a message for each new token, for jobs that wait for it."
  type        = bool
  default     = false
  nullable    = false
}

variable "delete_data_on_destroy" {
  description = "Whether `make destroy` deletes all tokens and grants with their versions. Otherwise it stops at a bucket that is not empty."
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
}
