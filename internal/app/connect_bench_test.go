//go:build unix

package app_test

import (
	"crypto/rand"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// BenchmarkConnect is a connect to the real service over the loopback interface, both ends in this process: without authentication, with
// each kind of credential that was not seen before, and with a token that was. What checking alone costs is in internal/auth.
func BenchmarkConnect(b *testing.B) {
	free := []string{"--connects-per-second=0", "--connects-per-second-per-user=0", "--max-sockets=0", "--max-sockets-per-user=0"}
	fixed := func(credential string) func() string { return func() string { return credential } }
	b.Run("open", func(b *testing.B) { connects(b, serve(b, free...), fixed("")) })
	for _, s := range []signer{hmacSigner(jwtSecret), rsaSigner(), ecSigner(), edSigner()} {
		flag := "--jwt-secret=" + jwtSecret
		if s.public != nil {
			flag = "--jwt-public-key=" + s.file(b)
		}
		n := serve(b, append(free, flag)...)
		end := time.Now().Add(time.Hour).Unix()
		b.Run(s.algorithm, func(b *testing.B) {
			connects(b, n, func() string { return s.token("", claims{"jti": rand.Text(), "exp": end}) })
		})
		if s.algorithm == "HS256" {
			b.Run("token seen before", func(b *testing.B) { connects(b, n, fixed(s.token("", nil))) })
		}
	}
	n := guarded(b, free...)
	_, key := n.key(b, `{"name":"bench","scopes":["subscribe"]}`)
	b.Run("API key", func(b *testing.B) { connects(b, n, fixed(key)) })
}

func connects(b *testing.B, n *node, credential func() string) {
	b.Helper()
	b.ReportAllocs()
	options := &websocket.DialOptions{HTTPClient: client, HTTPHeader: map[string][]string{}}
	var spent time.Duration // by both ends: unlike the time it does not depend on who else uses the machine
	for b.Loop() {
		b.StopTimer()
		if c := credential(); c != "" {
			options.HTTPHeader.Set("Authorization", "Bearer "+c)
		}
		b.StartTimer()
		before := used(b)
		conn, _, err := websocket.Dial(b.Context(), n.url, options) //nolint:bodyclose // the library closes it
		if err != nil {
			b.Fatal(err)
		}
		spent += used(b) - before
		b.StopTimer()
		_ = conn.CloseNow() // its end is no part of a connect
		b.StartTimer()
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// used is the processor time of this process so far.
func used(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
