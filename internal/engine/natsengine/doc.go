// Package natsengine is the self-hosted engine: the ports of package eureka on NATS with JetStream.
//
// Channels live in a key-value bucket that each node replicates into memory, live messages travel on core NATS subjects,
// and the socket directory asks every node. The NATS server runs inside the process or is an external one; above the
// connection the code is the same. The package never talks to a client, never decides who may do what, and never keeps
// anything that has to outlive the process anywhere but in JetStream.
package natsengine
