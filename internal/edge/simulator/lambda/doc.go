// Package lambda runs functions as AWS Lambda does: real processes of a bootstrap binary that fetch their invocations from the runtime API,
// one at a time each, started when none is free and frozen while they wait.
//
// Every process has a runtime API on a loopback port and credentials of its own, so that whatever it calls can be told to be its doing. The package
// knows nothing of what is in an invocation, and ends every process that it started, by its id.
package lambda
