package main

import (
	"fmt"
	"time"

	"eureka/client"
)

type historyCmd struct {
	Channel string `arg:"" help:"Id or alias of the channel."`
	Since   string `help:"Print what came behind the message with this id, oldest first; without it the newest messages." placeholder:"CURSOR"`
	Limit   int    `short:"n" help:"Messages at the most, 1 to 1000." default:"100"`
}

// Run prints messages that a channel retains, oldest first.
func (c *historyCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	history, err := service.History(s.ctx, c.Channel, c.Since, c.Limit)
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(history)
	}
	for _, m := range history.List {
		if err := s.printf("%s  %s  %s  %s\n", time.UnixMilli(m.TS).Format(time.TimeOnly), clean(m.ID), clean(m.Event), clean(string(m.Data))); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(s.stderr, "eureka: %s\n", historyEnd(history))
	return nil
}

// historyEnd tells where the next read goes on.
func historyEnd(h client.History) string {
	words := fmt.Sprintf("%d messages", len(h.List))
	if len(h.List) == 1 {
		words = "1 message"
	}
	switch {
	case h.Cursor == "":
	case h.More:
		words += ", and there are more: go on with --since " + clean(h.Cursor)
	default:
		words += "; what comes next is behind --since " + clean(h.Cursor)
	}
	return words
}
