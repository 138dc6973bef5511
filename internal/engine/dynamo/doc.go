// Package dynamo is the ports of package eureka on one DynamoDB table, for functions that hold nothing between two calls.
//
// docs/adr/0010 has the table's keys and what each use case costs, docs/adr/0011 how messages stay in order and complete although any call may be
// cut off at any step. The package never talks to a client: sockets are reached through a [Poster], later work through a [Queue], which the edge
// gives it. It never scans the table and takes no step that cannot be repeated. Messages are stored and delivered without transactions; channels and API keys,
// which change rarely, and the ends of subscriptions, replays and sockets are one each.
package dynamo
