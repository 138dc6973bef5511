// Package wire is RFC 6455 on byte slices: it parses what a client sends and encodes what the server sends.
//
// It does no I/O, starts no goroutine and holds no lock, so that a goroutine per connection and an event loop with one
// shared buffer can both use it. It never allocates for a frame that arrives whole, and never buffers more of a
// message than has arrived.
package wire
