package app

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"eureka"
)

func keep(size int) map[string]any {
	return map[string]any{"history": map[string]any{"size": size, "ttl": "1h"}}
}

// TestManySocketsResumeAtOnce: every one of them has all it missed and then all that is live, once and in order, and what they missed is read for all
// of them together.
func TestManySocketsResumeAtOnce(t *testing.T) {
	sockets := 10_000
	if raceDetector {
		sockets = 2000 // the same code, at a fraction of its speed
	}
	if err := raiseDescriptors(wantDescriptors); err != nil {
		t.Skipf("this system does not let a process have enough open files: %v", err)
	}
	const missed, live = 200, 50
	s := startProcess(t)
	s.call(http.MethodPost, "/channels/A", keep(1000), nil)
	start := s.position("A")
	s.publish("A", missed, 100)
	past := append([]string{start}, s.ids("A", start)...)
	clients, since := make([]*rawSocket, sockets), make([]int, sockets)
	for i := range clients {
		var err error
		if clients[i], err = s.dial(0); err != nil {
			t.Fatalf("socket %d: %v", i, err)
		}
		defer func() { _ = clients[i].Close() }()
		since[i] = i % (missed / 2) // they were there until different messages
	}
	before := s.metric("eureka_history_reads_total")
	got := make([][]string, sockets)
	var running sync.WaitGroup
	for i, c := range clients {
		running.Go(func() {
			var err error
			got[i], err = c.resumed(past[since[i]], "the end")
			for tries := 0; errors.Is(err, errBusy) && tries < 20; tries++ { // as a client does on a machine that stalls
				if c, err = s.dial(0); err == nil {
					got[i], err = c.resumed(past[since[i]], "the end")
					_ = c.Close()
				}
			}
			if err != nil {
				t.Errorf("socket %d: %v", i, err)
			}
		})
	}
	for range live {
		s.call(http.MethodPost, "/channels/A/broadcast", map[string]any{"data": "live"}, nil)
	}
	reached := func() bool { return s.metric("eureka_sockets_open") == float64(sockets) }
	for deadline := time.Now().Add(patience); !reached() && !t.Failed(); {
		if time.Now().After(deadline) {
			t.Fatal("not all are connected")
		}
		<-time.After(50 * time.Millisecond)
	}
	s.call(http.MethodPost, "/channels/A/broadcast", map[string]any{"data": "the end"}, nil)
	running.Wait()
	reads := s.metric("eureka_history_reads_total") - before
	all := append([]string{start}, s.ids("A", start)...)
	for i := range clients {
		if want := all[since[i]+1:]; !slices.Equal(got[i], want) {
			t.Fatalf("socket %d has %d messages, want %d", i, len(got[i]), len(want))
		}
	}
	t.Logf("%d sockets resumed with %.0f reads", sockets, reads)
	if reads > float64(sockets)/20 {
		t.Errorf("%.0f reads for %d sockets", reads, sockets)
	}
}

// resumed opens the WebSocket from a position and returns the ids of all messages, up to the one with this data.
func (r *rawSocket) resumed(since, until string) (ids []string, err error) {
	if err := r.handshake("A@" + since); err != nil {
		return nil, err
	}
	reply, err := r.next()
	if err != nil || !bytes.Contains(reply, []byte(`"recovered":true`)) {
		return nil, fmt.Errorf("%s, %w", reply, err)
	}
	end := []byte(`"data":"` + until + `"`)
	for {
		frame, err := r.next()
		if err != nil {
			return ids, err
		}
		message := id(frame)
		if message == "" {
			return ids, fmt.Errorf("behind %d messages came %s", len(ids), frame)
		}
		if ids = append(ids, message); bytes.Contains(frame, end) {
			return ids, nil
		}
	}
}

// TestASlowReaderResumesInBoundedMemory: a socket that reads 100,000 messages little by little costs the service a small part of them.
func TestASlowReaderResumesInBoundedMemory(t *testing.T) {
	messages, step := 100_000, 5000
	const padding, bound = 1000, 20 << 20 // of at least 100 MB
	if raceDetector {
		messages, step = 20_000, 5000 // the same code; the bound is for what memory costs without it
	}
	s := startService(t)
	s.call(http.MethodPost, "/channels/A", keep(eureka.MaxHistorySize), nil)
	start := s.position("A")
	s.publish("A", messages-1, padding)
	s.publish("A", 1, 10)
	want := s.ids("A", start)
	before := heap()
	c, err := s.dial(32 << 10)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.handshake("A@" + start); err != nil {
		t.Fatal(err)
	}
	if reply, err := c.next(); err != nil || !strings.Contains(string(reply), `"recovered":true`) {
		t.Fatalf("%s, %v", reply, err)
	}
	most := int64(0)
	for i, next := range want {
		if i%step == 0 {
			s.stalled()
			most = max(most, heap()-before)
		}
		frame, err := c.next()
		if err != nil || id(frame) != next {
			t.Fatalf("%.200s, %v, where %s should be, the message %d", frame, err, next, i+1)
		}
	}
	t.Logf("%d messages of %d bytes cost up to %d KB of heap", messages, padding, most>>10)
	if !raceDetector && most > bound {
		t.Errorf("the heap grew by up to %d bytes, want no more than %d", most, bound)
	}
	// It is live now.
	s.publish("A", 1, 10)
	if frame, err := c.next(); err != nil || id(frame) == "" {
		t.Errorf("%s, %v", frame, err)
	}
}

// stalled waits until the service has sent a client that does not read all that it may.
func (s *service) stalled() {
	last, same := -1.0, 0
	for deadline := time.Now().Add(patience); same < 10 && time.Now().Before(deadline); {
		if now := s.metric("eureka_deliveries_total"); now == last {
			same++
		} else {
			last, same = now, 0
		}
		<-time.After(10 * time.Millisecond)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers let go
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestASocketInItsReplayHearsOfTheEnd: a channel that is deleted ends for those who have not read what they missed yet, too.
func TestASocketInItsReplayHearsOfTheEnd(t *testing.T) {
	s := startService(t)
	s.call(http.MethodPost, "/channels/A", keep(eureka.MaxHistorySize), nil)
	start := s.position("A")
	s.publish("A", 20_000, 1000)
	c, err := s.dial(32 << 10)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.handshake("A@" + start); err != nil {
		t.Fatal(err)
	}
	s.stalled()
	s.call(http.MethodDelete, "/channels/A", nil, nil)
	for {
		frame, err := c.next()
		if err != nil {
			t.Fatalf("it was not told: %v", err)
		}
		if strings.Contains(string(frame), `"code":"gone"`) {
			return
		}
	}
}
