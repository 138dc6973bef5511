// Package mock keeps mocks, sample events with templates, and plays them at a rate, so that a developer sees traffic before the services exist.
//
// What it plays goes through the core like any other event, on behalf of whoever began the run. A run belongs to the process that began it and ends with it.
// The package never runs without bounds: templates cannot loop, and rates, numbers and times of runs have limits. It never talks to a client or an engine.
package mock
