package apigateway

import (
	"sync"
	"time"
)

// Limits are the quotas of API Gateway.
type Limits struct {
	MaxFrame   int // bytes of a WebSocket frame
	MaxMessage int // bytes of a message, in both directions
	MaxURL     int // characters of the URL of a handshake
	MaxBody    int // bytes of an HTTP request
	MaxHeaders int // bytes of an HTTP request's headers

	Idle time.Duration // a socket without a message in either direction for so long is closed; pings do not count, since AWS does not say that they do
	Age  time.Duration // a socket lives so long at most

	Integration     time.Duration // a function's time behind the WebSocket API
	HTTPIntegration time.Duration // and behind the HTTP API

	ConnectRate, ConnectBurst float64 // handshakes a second
	RequestRate, RequestBurst float64 // messages, posts and HTTP requests a second
}

// AWSLimits are the default quotas of an account.
func AWSLimits() Limits {
	return Limits{
		MaxFrame: 32 << 10, MaxMessage: 128 << 10, MaxURL: 4096, MaxBody: 10 << 20, MaxHeaders: 10240,
		Idle: 10 * time.Minute, Age: 2 * time.Hour,
		Integration: 29 * time.Second, HTTPIntegration: 30 * time.Second,
		ConnectRate: 500, ConnectBurst: 500, RequestRate: 10000, RequestBurst: 5000,
	}
}

// Faster returns the limits with the life of sockets shortened by a factor.
func (l Limits) Faster(factor float64) Limits {
	l.Idle = time.Duration(float64(l.Idle) / factor)
	l.Age = time.Duration(float64(l.Age) / factor)
	return l
}

// bucket is a token bucket, as AWS throttles with.
type bucket struct {
	rate, burst float64
	mu          sync.Mutex
	tokens      float64
	at          time.Time
}

func newBucket(rate, burst float64) *bucket { return &bucket{rate: rate, burst: burst, tokens: burst} }

// take reports whether there is a token at the given time, and takes it.
func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at.IsZero() {
		b.at = now
	}
	// Callers may come here out of order; time does not run backwards for that.
	if passed := now.Sub(b.at); passed > 0 {
		b.tokens = min(b.burst, b.tokens+b.rate*passed.Seconds())
		b.at = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
