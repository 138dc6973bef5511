package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"eureka"
	"eureka/client"
)

// maxStdin is the largest message read from standard input, in bytes.
const maxStdin = 1 << 20

type publishCmd struct {
	Channel string `arg:"" help:"Id or alias of the channel."`
	Data    string `arg:"" name:"json" help:"The message: one JSON value, or - to read it from standard input."`
	Event   string `help:"What happened; message by default."`
	Key     string `help:"An idempotency key: the same one within five minutes publishes once." placeholder:"KEY"`
}

// Run publishes one message.
func (c *publishCmd) Run(s *session) error {
	data, err := s.message(c.Data)
	if err != nil {
		return err
	}
	service, err := s.client()
	if err != nil {
		return err
	}
	out, err := service.Publish(s.ctx, c.Channel, client.Message{Data: data, Event: c.Event, Key: c.Key})
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(out)
	}
	if out.Filtered {
		return s.printf("not published to %s: its rules keep the message out\n", out.Channel)
	}
	as := ""
	if out.ID != "" {
		as = " as " + clean(out.ID)
	}
	if out.Delivered == nil {
		return s.printf("published to %s%s, its delivery is under way\n", out.Channel, as)
	}
	return s.printf("published to %s%s, delivered to %d\n", out.Channel, as, *out.Delivered)
}

// message reads a JSON value from an argument or, for "-", from standard input.
func (s *session) message(argument string) (json.RawMessage, error) {
	text := []byte(argument)
	if argument == "-" {
		var err error
		if text, err = io.ReadAll(io.LimitReader(s.stdin, maxStdin+1)); err != nil {
			return nil, err
		}
		if len(text) > maxStdin {
			return nil, eureka.Errorf(eureka.CodeTooLarge, "standard input is over the limit of %d bytes", maxStdin)
		}
	}
	if !json.Valid(text) {
		return nil, eureka.Errorf(eureka.CodeInvalid, `the message is not valid JSON; a text needs quotes of its own: '"hello"'`)
	}
	return text, nil
}

type listenCmd struct {
	Channels []string `arg:"" name:"channel" help:"Ids or aliases of channels."`
	Since    string   `help:"Begin behind the message with this id, on a channel with history. For one channel; for several write CHANNEL@CURSOR." placeholder:"CURSOR"`
	Count    int      `short:"n" help:"Stop after this many messages; 0 for never." default:"0"`
}

// errEnough ends the listening after the wanted number of messages.
var errEnough = errors.New("enough")

// Run prints messages until it is interrupted, has enough of them, or the service sends it away.
func (c *listenCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	names, since, err := c.positions()
	if err != nil {
		return err
	}
	seen, newest := 0, map[string]string{}
	err = service.Listen(s.ctx, client.Listener{
		Channels: names,
		Since:    since,
		OnFrame: func(f client.Frame) error {
			if err := s.printFrame(f); err != nil {
				return err
			}
			if f.ID != "" {
				newest[f.Channel] = f.ID
			}
			if f.Action == eureka.ActionMessage {
				seen++
			}
			if c.Count > 0 && seen >= c.Count {
				return errEnough
			}
			return nil
		},
		OnState: func(state string) {
			if !s.json {
				_, _ = fmt.Fprintln(s.stderr, "eureka:", state)
			}
		},
	})
	s.printNewest(newest)
	if errors.Is(err, errEnough) {
		return nil
	}
	return s.interrupted(err)
}

// printNewest tells how to go on behind what was printed last.
func (s *session) printNewest(newest map[string]string) {
	if s.json || len(newest) == 0 {
		return
	}
	line := "eureka: go on from here with: eureka listen"
	for _, name := range sortedKeys(newest) {
		line += " " + clean(name) + "@" + clean(newest[name])
	}
	_, _ = fmt.Fprintln(s.stderr, line)
}

// positions parts the channels' names from the cursors behind which to begin.
func (c *listenCmd) positions() (names []string, since map[string]string, err error) {
	since = map[string]string{}
	for _, asked := range c.Channels {
		name, cursor, _ := strings.Cut(asked, "@")
		names = append(names, name)
		if cursor != "" {
			since[name] = cursor
		}
	}
	if c.Since != "" {
		if len(names) != 1 {
			return nil, nil, eureka.FieldError("since", "is for one channel; write CHANNEL@CURSOR for each of several")
		}
		since[names[0]] = c.Since
	}
	return names, since, nil
}

func (s *session) printFrame(f client.Frame) error {
	switch {
	case s.json:
		return s.printf("%s\n", f.Raw)
	case f.Error != nil:
		return s.printf("%s  %s  error %s: %s\n", time.Now().Format(time.TimeOnly), clean(f.Channel), f.Error.Code, clean(f.Error.Message))
	default:
		at := time.Now()
		if f.TS != 0 {
			at = time.UnixMilli(f.TS)
		}
		event := f.Event
		if event == "" {
			event = f.Action
		}
		return s.printf("%s  %s  %s  %s\n", at.Format(time.TimeOnly), clean(f.Channel), clean(event), clean(string(f.Data)))
	}
}
