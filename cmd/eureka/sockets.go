package main

import (
	"net/url"
	"strings"

	"eureka/client"
)

type socketsCmd struct {
	List listSocketsCmd `cmd:"" help:"List live sockets on all nodes."`
	Show showSocketCmd  `cmd:"" help:"Show a live socket."`
	Send sendSocketCmd  `cmd:"" help:"Send a message to one socket."`
	Kick kickSocketCmd  `cmd:"" help:"Disconnect a socket."`
}

type listSocketsCmd struct {
	User    string `help:"Sockets of this user."`
	Channel string `help:"Subscribers of this channel, by id or alias."`
	Limit   int    `help:"Sockets of a page." default:"20"`
	Page    int    `help:"Page number, from 0." default:"0"`
	After   string `help:"Go on behind this position, the next of an earlier page."`
}

// Run lists sockets.
func (c *listSocketsCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	query := url.Values{}
	paging(query, c.Limit, c.Page, c.After)
	if c.User != "" {
		query.Set("user", c.User)
	}
	if c.Channel != "" {
		query.Set("channel", c.Channel)
	}
	list, err := service.Sockets(s.ctx, query)
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(list)
	}
	rows := [][]string{{"ID", "USER", "NODE", "REMOTE", "CHANNELS", "CONNECTED"}}
	for _, k := range list.List {
		rows = append(rows, []string{k.ID, k.User, k.Node, k.Remote, strings.Join(k.Channels, ","), moment(k.ConnectedAt)})
	}
	if err := s.table(rows); err != nil {
		return err
	}
	return s.more(len(list.List), list.Total, list.Next)
}

type showSocketCmd struct {
	Socket string `arg:"" help:"Id of the socket."`
}

// Run shows a socket.
func (c *showSocketCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	k, err := service.Socket(s.ctx, c.Socket)
	return s.showSocket(k, err)
}

type sendSocketCmd struct {
	Socket string `arg:"" help:"Id of the socket."`
	Data   string `arg:"" name:"json" help:"The message: one JSON value, or - to read it from standard input."`
	Event  string `help:"What happened; message by default."`
}

// Run sends a message to one socket.
func (c *sendSocketCmd) Run(s *session) error {
	data, err := s.message(c.Data)
	if err != nil {
		return err
	}
	service, err := s.client()
	if err != nil {
		return err
	}
	if err := service.Send(s.ctx, c.Socket, client.Message{Data: data, Event: c.Event}); err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(map[string]int{"delivered": 1})
	}
	return s.printf("sent to %s\n", c.Socket)
}

type kickSocketCmd struct {
	Socket string `arg:"" help:"Id of the socket."`
}

// Run disconnects a socket.
func (c *kickSocketCmd) Run(s *session) error {
	service, err := s.client()
	if err != nil {
		return err
	}
	k, err := service.Disconnect(s.ctx, c.Socket)
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(k)
	}
	return s.printf("disconnected %s\n", k.ID)
}

func (s *session) showSocket(k client.Socket, err error) error {
	if err != nil {
		return s.interrupted(err)
	}
	if s.json {
		return s.printJSON(k)
	}
	return s.table([][]string{
		{"id", k.ID},
		{"user", k.User},
		{"node", k.Node},
		{"remote", k.Remote},
		{"origin", k.Origin},
		{"agent", k.Agent},
		{"channels", strings.Join(k.Channels, ",")},
		{"connected", moment(k.ConnectedAt)},
		{"reconnect by", moment(k.ReconnectBy)},
	})
}
