// Package loadgen loads a socket service and reports what it did: memory of idle sockets, fan-out, many channels, connects, a
// reconnect storm, publishes over HTTP. `eureka bench` is its command line.
//
// It needs little processor time itself, so that it can stand beside what it measures: one epoll loop holds all sockets, frames are
// read in place from one shared buffer, and nothing is allocated for a frame that arrives whole. It speaks to a service as any client
// does, and knows nothing of what is inside; it never starts or stops one. Every message is numbered, so what is lost, doubled or out
// of order is counted and not estimated.
package loadgen
