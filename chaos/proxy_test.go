package chaos

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// proxy stands between one node and NATS. It can cut the node off, and it loses some of what NATS sends on live subjects, as NATS may when a route or a
// client is slow.
type proxy struct {
	world   *world
	address string
	lossy   func() bool // reports whether the next live message is lost

	mu    sync.Mutex
	off   bool
	conns map[net.Conn]bool
}

// loss is how many live messages with history come for one that is lost.
const loss = 30

func newProxy(w *world, port int, rng *rand.Rand) (*proxy, error) {
	p := &proxy{world: w, address: fmt.Sprintf("127.0.0.1:%d", port), conns: map[net.Conn]bool{}}
	var mu sync.Mutex
	p.lossy = func() bool {
		select {
		case <-w.settling:
			return false // without a next message nobody would notice
		default:
		}
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(loss) == 0
	}
	l, err := (&net.ListenConfig{}).Listen(w.t.Context(), "tcp", p.address)
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() {
		_ = l.Close()
		p.cut()
	})
	go func() {
		for {
			node, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(w.t.Context(), node)
		}
	}()
	return p, nil
}

// cut ends all connections and refuses new ones until mend.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = true
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = false
}

// keep notes a connection to be cut; it reports whether there may be one.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.off {
		p.conns[c] = true
	}
	return !p.off
}

func (p *proxy) end(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *proxy) serve(ctx context.Context, node net.Conn) {
	defer p.end(node)
	nats, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.world.natsAddress)
	if err != nil {
		return
	}
	defer p.end(nats)
	if !p.keep(node) || !p.keep(nats) {
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(nats, node)
		_ = nats.Close()
		_ = node.Close()
	}()
	_ = p.pass(node, nats) // either end may go at any time
	_ = nats.Close()
	_ = node.Close()
	<-ended
}

// pass hands on what NATS sends, but for the messages that are lost.
func (p *proxy) pass(node io.Writer, nats io.Reader) error {
	in, out := bufio.NewReaderSize(nats, 64<<10), bufio.NewWriterSize(node, 64<<10)
	for {
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		line, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		fields := bytes.Fields(line)
		payload := 0
		if len(fields) > 0 && (string(fields[0]) == "MSG" || string(fields[0]) == "HMSG") {
			if payload, err = strconv.Atoi(string(fields[len(fields)-1])); err != nil {
				return err
			}
			payload += 2
		}
		// What has headers is from the history; what has none nobody could miss.
		if payload > 0 && string(fields[0]) == "HMSG" && bytes.HasPrefix(fields[1], []byte("eureka.live.")) && p.lossy() {
			p.world.count(losses)
			if _, err := in.Discard(payload); err != nil {
				return err
			}
			continue
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
		if _, err := io.CopyN(out, in, int64(payload)); err != nil {
			return err
		}
	}
}
