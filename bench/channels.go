//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"eureka/internal/pause"
)

// channels is what channels take that retain some messages each, beside as many without history in the same run. Figures are of one channel.
type channels struct {
	Channels      int     `json:"channels"`
	Messages      int     `json:"messagesEach"`
	ResidentKB    float64 `json:"residentPerChannelKB"`               // of the process that took the messages
	RestartedKB   float64 `json:"residentPerChannelAfterARestartKB"`  // of one that found them
	Ratio         float64 `json:"restartedRatioToChannelsWithoutAny"` // of resident memory
	DiskKB        float64 `json:"diskPerChannelKB"`
	RestartMillis float64 `json:"restartToReadyMs"`
}

// small is a message of about a hundred bytes as it is stored, beside its headers.
const small = `{"channelId":"%s","data":{"orderId":"1000042","status":"paid"}}`

// measureChannels measures what channels take: without history, with one message, with a hundred.
func (b *bench) measureChannels(ctx context.Context, f *figures) error {
	for _, messages := range []int{0, 1, 100} {
		c, err := b.retain(ctx, messages)
		if err != nil {
			return err
		}
		c.Ratio = 1
		if len(f.Channels) > 0 {
			c.Ratio = c.RestartedKB / f.Channels[0].RestartedKB
		}
		f.Channels = append(f.Channels, c)
	}
	return nil
}

func (b *bench) retain(ctx context.Context, messages int) (channels, error) {
	b.say("%d channels that retain %d messages each", b.declared, messages)
	c := channels{Channels: b.declared, Messages: messages}
	b.servers++
	data := filepath.Join(b.dir, fmt.Sprintf("data%d", b.servers))
	s, err := b.serveOn(ctx, data)
	if err != nil {
		return c, err
	}
	if err := ready(ctx, s); err != nil {
		return c, err
	}
	empty, err := s.settled(ctx)
	if err != nil {
		return c, err
	}
	if err := b.fill(ctx, s, messages); err != nil {
		return c, err
	}
	full, err := s.settled(ctx)
	if err != nil {
		return c, err
	}
	if err := s.stop(); err != nil {
		return c, err
	}
	began := time.Now()
	if s, err = b.serveOn(ctx, data); err != nil {
		return c, err
	}
	if err := ready(ctx, s); err != nil {
		return c, err
	}
	c.RestartMillis = float64(time.Since(began).Milliseconds())
	again, err := s.settled(ctx)
	if err != nil {
		return c, err
	}
	if err := s.stop(); err != nil {
		return c, err
	}
	size, err := directorySize(data)
	perChannel := func(n int64) float64 { return float64(n) / float64(b.declared) / 1024 }
	c.ResidentKB, c.RestartedKB, c.DiskKB = perChannel(full-empty), perChannel(again-empty), perChannel(size)
	return c, err
}

// fill declares the channels, eight at a time, and publishes one message to each after the other.
func (b *bench) fill(ctx context.Context, s *server, messages int) error {
	ids := named("c", b.declared)
	const workers = 8
	var working sync.WaitGroup
	failed := make([]error, workers)
	for w := range workers {
		working.Go(func() {
			for i := w; i < len(ids) && failed[w] == nil; i += workers {
				failed[w] = declare(ctx, s, ids[i], messages)
			}
		})
	}
	working.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	const batch = 1000
	for range messages {
		for from := 0; from < len(ids); from += batch {
			body := bytes.NewBufferString("[")
			for i, id := range ids[from:min(from+batch, len(ids))] {
				if i > 0 {
					body.WriteByte(',')
				}
				fmt.Fprintf(body, small, id)
			}
			body.WriteByte(']')
			if _, err := s.call(ctx, caller, http.MethodPost, "/events", body.Bytes()); err != nil {
				return err
			}
		}
	}
	return nil
}

// settled is the resident memory when what was done before has been cleared away.
func (s *server) settled(ctx context.Context) (resident int64, err error) {
	for range 10 {
		if err := pause.For(ctx, time.Second); err != nil {
			return 0, err
		}
		if resident, err = s.resident(); err != nil {
			return 0, err
		}
	}
	return resident, nil
}

func directorySize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
