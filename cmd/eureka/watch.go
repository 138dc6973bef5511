package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"eureka"
	"eureka/client"
	"eureka/internal/pause"
)

// Bounds of the time between two looks, and of the wait for a service that is away.
const (
	minInterval = 100 * time.Millisecond
	maxInterval = time.Hour
	maxAway     = 15 * time.Second
)

// Sequences of a terminal.
const (
	screenBegin = "\x1b[?7l\x1b[2J" // long lines are cut, and the screen is empty
	screenHome  = "\x1b[H"
	lineEnd     = "\x1b[K\n"
	screenRest  = "\x1b[J"
	screenEnd   = "\x1b[?7h"
)

// watching is a list of channels that is looked at again and again.
type watching struct {
	*session

	service  *client.Client
	query    url.Values
	interval time.Duration
	seen     map[string]client.Channel
	away     bool
	last     client.List[client.Channel]
}

// watch shows a list until it is interrupted, or the service refuses it. A service that was there is waited for.
func (s *session) watch(service *client.Client, query url.Values, interval time.Duration) error {
	if interval < minInterval || interval > maxInterval {
		return eureka.FieldError("interval", "must be between %s and %s", minInterval, maxInterval)
	}
	w := &watching{session: s, service: service, query: query, interval: interval, seen: map[string]client.Channel{}}
	screen := s.terminal && !s.json
	if screen {
		if err := s.printf("%s", screenBegin); err != nil {
			return err
		}
		defer func() { _ = s.printf("%s", screenEnd) }()
	}
	for tries := 0; ; {
		list, err := service.Channels(s.ctx, query)
		switch {
		case s.ctx.Err() != nil:
			return errInterrupted
		case err != nil && (w.last.List == nil || !mayPass(err)):
			return err
		case err != nil:
			tries++
		default:
			tries, w.last = 0, list
		}
		if screen {
			err = w.draw(err)
		} else {
			err = w.report(list, err)
		}
		if err != nil {
			return err
		}
		if pause.For(s.ctx, min(interval<<min(tries, 8), max(interval, maxAway))) != nil {
			return errInterrupted
		}
	}
}

// mayPass reports whether the same call may succeed later.
func mayPass(err error) bool {
	return eureka.CodeOf(err).Outcome().Retry || errors.Is(err, context.DeadlineExceeded)
}

// draw puts the newest list in the place of the one before.
func (w *watching) draw(failure error) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s  %d of %d channels, every %s, Ctrl+C ends it", screenHome, time.Now().Format(time.TimeOnly), len(w.last.List), w.last.Total, w.interval)
	if failure != nil {
		b.WriteString(lineEnd + "not up to date: " + clean(eureka.MessageOf(failure)))
	}
	b.WriteString("\n\n")
	if err := writeTable(&b, channelRows(w.last.List)); err != nil {
		return err
	}
	return w.printf("%s%s", strings.ReplaceAll(b.String(), "\n", lineEnd), screenRest)
}

// report prints what has changed since the last look, one line each.
func (w *watching) report(list client.List[client.Channel], failure error) error {
	if failure != nil {
		if !w.away {
			w.note(eureka.MessageOf(failure) + "; trying again")
		}
		w.away = true
		return nil
	}
	if w.away {
		w.note("the service answers again")
		w.away = false
	}
	now := map[string]client.Channel{}
	for _, ch := range list.List {
		now[ch.ID] = ch
		before, known := w.seen[ch.ID]
		var err error
		switch {
		case !known:
			err = w.change("added", ch)
		case !same(before, ch):
			err = w.change("changed", ch)
		}
		if err != nil {
			return err
		}
	}
	for _, id := range sortedKeys(w.seen) {
		if _, there := now[id]; !there {
			if err := w.change("left", w.seen[id]); err != nil {
				return err
			}
		}
	}
	w.seen = now
	return nil
}

func (w *watching) change(what string, ch client.Channel) error {
	if w.json {
		return w.printJSON(map[string]any{"change": what, "at": time.Now().UnixMilli(), "channel": ch})
	}
	line := time.Now().Format(time.TimeOnly) + "  " + what + "  " + ch.ID
	for _, name := range []string{ch.Alias, ch.Name} {
		if name != "" {
			line += "  " + name
		}
	}
	line += "  subscribed " + count(ch.Subscribed)
	if ch.History != nil {
		line += "  messages " + count(ch.Messages)
	}
	return w.printf("%s\n", clean(line))
}

// same compares what the service said.
func same(a, b client.Channel) bool {
	before, _ := json.Marshal(a)
	after, _ := json.Marshal(b) // both came from JSON
	return string(before) == string(after)
}
