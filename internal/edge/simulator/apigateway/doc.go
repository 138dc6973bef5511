// Package apigateway is a local API Gateway on one port: a WebSocket API with its @connections, and an HTTP API, both in front of functions.
//
// It sends the events, keeps the quotas and answers with the statuses, headers and words of AWS. It never looks into a message, and knows nothing of
// the service behind it. Where AWS's behaviour is not documented, the comment at the place says what was chosen.
//
// Locks: Gateway.mu guards the table of connections and is never held while something is written or invoked; connection.mu orders the writes to
// one socket.
package apigateway
