// Package subject takes events from NATS subjects: from core NATS, at most once and with an answer for whoever asks for one, or from a JetStream stream by a
// durable consumer, which gives each message until it was accepted.
//
// It connects to a NATS that services publish on, and knows nothing of the engine's own subjects. It creates its consumer and never a stream.
package subject
