# How long it is between two runs, and how long one may wait: said to the function, counted by the alarms. And what the schedule must keep so that
# neither is always wrong. No provider is needed for any of it, so tests try it on the variables alone.

locals {
  # `15m`: the only place where the schedule becomes a duration.
  interval = (
    startswith(var.schedule.expression, "rate") ?
    join("", regex("^rate\\(([0-9]+) ([mhd])", var.schedule.expression)) :
    var.schedule.interval
  )
  interval_seconds = (
    tonumber(regex("^[0-9]+", local.interval)) * { m = 60, h = 3600, d = 86400 }[regex("[mhd]$", local.interval)]
  )

  # An event waits while another schedule's run goes on, and Lambda's pauses between tries grow to five minutes: it is late
  # after two runs' time, and given up after three, or after an interval, since the next run does the same work.
  late_seconds         = max(local.interval_seconds / 2, 2 * var.function.timeout)
  longest_wait_seconds = max(local.interval_seconds, 3 * var.function.timeout)

  cron_fields = startswith(var.schedule.expression, "cron") ? regexall("[^ ()]+", trimprefix(var.schedule.expression, "cron")) : []
  is_daily = alltrue([
    for field in slice(concat(local.cron_fields, ["*", "*", "*", "*", "*"]), 2, 5) :
    contains(["*", "?", "1/1", "*/1", "1-31", "1-12", "1-7", "JAN-DEC", "SUN-SAT", "MON-SUN"], field)
  ])

  # The minutes of an hour and the hours of a day at which a cron runs: `0/15` is [0, 15, 30, 45], `22-2` [22, 23, 0, 1, 2].
  cron_times = [
    for index, field in slice(concat(local.cron_fields, ["*", "*"]), 0, 2) : flatten([
      for item in [
        for text in split(",", field) : regex("^(?:\\*|(?P<first>[0-9]+)(?:-(?P<last>[0-9]+))?)(?:/(?P<step>[0-9]+))?$", text)
        ] : [
        for value in range(
          tonumber(coalesce(item.first, "0")),
          1 + (
            item.last != null ? tonumber(item.last) + (tonumber(item.last) < tonumber(item.first) ? [60, 24][index] : 0) :
            item.first == null || item.step != null ? [59, 23][index] : tonumber(item.first)
          ),
          tonumber(coalesce(item.step, "1")),
        ) : value % [60, 24][index]
      ]
    ])
  ]
  # The same as minutes of a day, in order; and the longest wait from one to the next.
  runs_of_a_day = flatten([
    for hour in range(24) : [
      for minute in range(60) : hour * 60 + minute if contains(local.cron_times[0], minute) && contains(local.cron_times[1], hour)
    ]
  ])
  longest_gap_minutes = max([
    for index, run in local.runs_of_a_day : try(local.runs_of_a_day[index + 1], local.runs_of_a_day[0] + 1440) - run
  ]...)
}

output "interval" {
  description = "The longest time between two runs over all sources, as the function is told it."
  value       = local.interval

  precondition {
    condition     = local.interval_seconds >= var.function.timeout
    error_message = "A run may take ${var.function.timeout} s, and the next one comes after ${local.interval}: schedule less often, such as rate(15 minutes), or set function = { timeout = ${max(30, min(local.interval_seconds, 300))} }."
  }

  precondition {
    condition     = local.is_daily
    error_message = "The schedule of all sources must run every day, such as cron(0/15 6-22 ? * * *): tokens go stale between its runs. What is needed on some days only goes into additional_schedules."
  }

  precondition {
    condition     = length(local.cron_fields) == 0 || local.interval_seconds >= local.longest_gap_minutes * 60
    error_message = "Up to ${local.longest_gap_minutes} minutes pass between two runs of ${var.schedule.expression}, so its interval is \"${local.longest_gap_minutes}m\" or more, and an hour more in a time zone whose clocks change."
  }
}
