// Package e2e runs the service as its users do: the real binary, wscat, curl, httpie and the AWS SDK, in scripts that read
// like the README. The verbs of the scripts hide in which mode the service runs: as one process, or as functions behind a simulator of AWS.
// It never looks inside the service.
package e2e
