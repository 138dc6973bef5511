package loadgen

import (
	"strconv"
	"time"

	"eureka"
)

// frame handles one frame of the service.
func (s *swarm) frame(i int, c *conn, f frame) {
	switch f.opcode {
	case opText, opBinary, opContinuation:
		s.count.frames.Add(1)
		s.text(i, c, f.payload)
	case opPing:
		if len(f.payload) < 126 {
			s.scratch = append(append(s.scratch[:0], 0x80|opPong, 0x80|byte(len(f.payload)), 0, 0, 0, 0), f.payload...) //nolint:gosec // below 126
			s.send(c, s.scratch)
		}
	case opClose:
		if len(f.payload) >= 2 {
			s.failures.add(eureka.CodeUnavailable, "closed with "+strconv.Itoa(int(f.payload[0])<<8|int(f.payload[1])))
		}
		s.end(c)
	default:
	}
}

// text handles a frame that may hold messages.
func (s *swarm) text(i int, c *conn, payload []byte) {
	at := s.now()
	if eachStamp(payload, func(m stamp) { s.message(i, m, at) }) > 0 {
		if s.cursors {
			if cursor := cursorOf(payload); cursor != nil {
				c.cursor = append(c.cursor[:0], cursor...)
			}
		}
		return
	}
	m := s.d.read(payload)
	if m.failure != "" {
		s.failures.add(m.code, m.failure)
		if c.state == joining {
			s.end(c)
			return
		}
	}
	if m.reply != "" {
		s.scratch = maskedText(s.scratch[:0], []byte(m.reply))
		s.send(c, s.scratch)
	}
	if m.recovered {
		s.count.recovered.Add(1)
	}
	if m.lost {
		s.count.unrecovered.Add(1)
	}
	if m.cursor != nil && len(c.cursor) == 0 {
		c.cursor = append(c.cursor, m.cursor...)
	}
	s.confirm(c, m.confirmed)
}

// message counts one message.
func (s *swarm) message(i int, m stamp, at int64) {
	back := int(m.channel) - s.first(i)
	if back < 0 {
		back += s.o.Channels
	}
	if back < 0 || back >= s.o.PerSocket || int(m.lane) >= len(s.lanes) {
		s.count.foreign.Add(1)
		return
	}
	streams := s.o.streams()
	t := &s.tracks[(i*s.o.PerSocket+back)*streams+int(m.lane)%streams]
	switch t.take(m.seq) {
	case duplicated:
		s.count.duplicates.Add(1)
		return
	case late:
		s.count.late.Add(1)
	case inOrder, skipped:
	}
	s.arrived[m.lane]++
	s.count.messages.Add(1)
	s.latency.add(time.Duration(at - m.at))
}

// statusOf is the status of an HTTP answer; 0 when it is none.
func statusOf(head []byte) int {
	if len(head) < 12 || string(head[:5]) != "HTTP/" {
		return 0
	}
	status, err := strconv.Atoi(string(head[9:12]))
	if err != nil {
		return 0
	}
	return status
}
