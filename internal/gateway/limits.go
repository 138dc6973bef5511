package gateway

import (
	"time"

	"eureka"
)

// Limits bound what one socket may cost. A zero field means its default.
type Limits struct {
	QueueBytes       int           // bytes waiting for a slow client, beside what is being written; default 1 MiB
	QueueFrames      int           // frames waiting likewise; default 1,024
	PingInterval     time.Duration // silence after which the server pings; default 25 s
	IdleTimeout      time.Duration // silence, pongs included, after which it closes; default 75 s
	HandshakeTimeout time.Duration // for the use case behind a handshake; default 10 s
	FrameTimeout     time.Duration // for the use case behind a frame; default 30 s
	DrainSpread      time.Duration // clients of a draining node reconnect spread over this; default 5 s

	// Of these 0 means no limit. Rates allow for two seconds at once.
	MaxSockets            int // on this node
	MaxSocketsPerUser     int // on this node
	ConnectsPerSecond     int // handshakes on this node
	UserConnectsPerSecond int // handshakes of one user on this node
	FramesPerSecond       int // text frames of one socket
	PublishesPerSecond    int // publishes of one socket
}

func (l Limits) withDefaults() Limits {
	number := func(n *int, otherwise int) {
		if *n <= 0 {
			*n = otherwise
		}
	}
	duration := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	number(&l.QueueBytes, 1<<20)
	number(&l.QueueFrames, 1024)
	duration(&l.PingInterval, 25*time.Second)
	duration(&l.IdleTimeout, 75*time.Second)
	duration(&l.HandshakeTimeout, 10*time.Second)
	duration(&l.FrameTimeout, 30*time.Second)
	duration(&l.DrainSpread, 5*time.Second)
	// A frame of the largest size must fit an empty queue.
	l.QueueBytes = max(l.QueueBytes, 2*eureka.MaxFrameBytes)
	return l
}
