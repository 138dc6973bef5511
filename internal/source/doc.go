// Package source is what all sources of events share: the lanes in which events are routed, in order for each model and in parallel otherwise, the
// retries of what may succeed in a moment, and the counting of what became of them. The sources themselves are the packages below it.
//
// It bounds how much is under way, and whoever brings more waits. It never reads bytes, never acknowledges anything, and keeps nothing: what it does not
// accept is its caller's to bring again.
package source
