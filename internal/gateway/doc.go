// Package gateway holds the sockets of the self-hosted service: it accepts them, drives their connections, and delivers messages to
// those that listen.
//
// On Linux event loops drive the connections, elsewhere and with TLS goroutines do; a stream is the part that both share. Broadcasts go to
// loops through lanes.
//
// Hub knows the sockets of this node and who listens to what; Gateway makes them out of HTTP handshakes. Between the
// two stands the interface conn: nothing above it knows how a connection is driven. The package never decides who may
// do what (core does), never talks to another node (the engine does), and never waits for a slow client.
//
// Locks are taken in this order, and never the other way round: entry.mu, topic.mu, picky.mu, part.mu, inbound.mu, a
// stream's mu, a lane's or a loop's mu. The shards are leaves.
package gateway
