// Package eureka is the vocabulary of Eureka Sockets: the types, ports and errors that every other package speaks.
//
// It says what a channel, a socket, a subscription, an event and a message are, which limits their fields have, which
// capabilities an engine must offer ([Channels], [Sockets], [Fanout], [Sender]) and what each error code means to an
// HTTP client, a WebSocket client and a shell. It imports only the standard library, and it never does I/O, logs,
// or knows in which mode (self-hosted or serverless) the service runs.
package eureka
