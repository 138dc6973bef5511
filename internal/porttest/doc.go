// Package porttest has one conformance suite per port of package eureka. An engine passes when its own tests call the suite with
// a harness; the harness says what the engine cannot do, and why.
//
// A suite knows an engine only through the port: it never imports one, never looks at stored data, and never sleeps.
package porttest
