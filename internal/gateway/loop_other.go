//go:build !linux

package gateway

// loops are none on this system: each connection has a goroutine.
type loops struct{}

func (*loops) next() path { return nil }

func (*Gateway) openLoops() error { return nil }

func (*Gateway) closeLoops() {}

// pollState is what an event loop knows of a stream.
type pollState struct{}

// unhandled reports whether nobody handles frames of the stream; mu keeps it so.
func (*pollState) unhandled() bool { return false }
