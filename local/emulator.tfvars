# The deployment that `make infra-local` makes in the AWS emulator.
alert_emails = ["on-call@example.com"]
region       = "eu-central-1"
environment  = "local"
function_zip = "./tests/function.zip" # stands in for the built one
additional_schedules = {
  before-work = {
    expression = "cron(30 5 ? * MON-FRI *)"
    sources    = ["acme-crm"]
    force      = true
  }
}
reader_sources = ["acme-crm"]
job_queue      = true
