// Package apigw is the edge that AWS holds: API Gateway's and the queues' events become calls of the core, and frames go out through @connections.
//
// One type per role of docs/adr/0012: [Sockets] for the WebSocket API, [HTTP] for the HTTP API, [Events] and [Tasks] for the queues, [Schedule] for
// the clock; each is a handler of package lambda. [Poster] and [Queue] are what the engine reaches sockets and later calls by. The package decides
// nothing about channels, holds nothing between two events that another function would miss, and never retries what its caller can repeat.
package apigw
