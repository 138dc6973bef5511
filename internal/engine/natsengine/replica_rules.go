package natsengine

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"

	"eureka"
)

// rules are what the table keeps of a channel's rules: nothing is searched in them, so one column has all.
type rules struct {
	Filter    string         `json:"f,omitempty"`
	Transform string         `json:"t,omitempty"`
	Access    *eureka.Access `json:"a,omitempty"`
}

// rulesText is a channel's rules as one text, "" for none.
func rulesText(ch *eureka.Channel) string {
	r := rules{ch.Filter, ch.Transform, ch.Access}
	if r == (rules{}) {
		return ""
	}
	text, err := json.Marshal(r)
	if err != nil {
		return "" // cannot be: strings always encode
	}
	return string(text)
}

// readRules is what rulesText wrote.
func readRules(text string, ch *eureka.Channel) error {
	if text == "" {
		return nil
	}
	var r rules
	err := json.Unmarshal([]byte(text), &r)
	ch.Filter, ch.Transform, ch.Access = r.Filter, r.Transform, r.Access
	return err
}

// models finds channels by their service and model, so that routing an event costs what its channels cost and nothing for others. It is safe for
// concurrent use.
type models struct {
	mu       sync.RWMutex
	channels map[eureka.Origin]map[string]*eureka.Channel // by service and model, then by id
}

// change follows a channel from one state to the next; nil is none.
func (m *models) change(old, now *eureka.Channel) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old != nil {
		key := modelOf(old)
		delete(m.channels[key], old.ID)
		if len(m.channels[key]) == 0 {
			delete(m.channels, key)
		}
	}
	if now == nil || now.Service == "" || now.ModelType == "" {
		return
	}
	key := modelOf(now)
	if m.channels[key] == nil {
		m.channels[key] = map[string]*eureka.Channel{}
	}
	m.channels[key][now.ID] = now
}

func modelOf(ch *eureka.Channel) eureka.Origin {
	return eureka.Origin{Service: ch.Service, ModelType: ch.ModelType, ModelID: ch.ModelID}
}

// of returns the channels of a model, ordered by id.
func (m *models) of(o eureka.Origin) []eureka.Channel {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := m.channels[eureka.Origin{Service: o.Service, ModelType: o.ModelType}]
	found := make([]eureka.Channel, 0, len(all))
	for _, ch := range all {
		found = append(found, *ch)
	}
	if o.ModelID != "" {
		for _, ch := range m.channels[o] {
			found = append(found, *ch)
		}
	}
	slices.SortFunc(found, func(a, b eureka.Channel) int { return cmp.Compare(a.ID, b.ID) })
	return found
}

// ChannelsOf implements eureka.ModelChannels, from memory.
func (s *channelStore) ChannelsOf(ctx context.Context, o eureka.Origin) ([]eureka.Channel, error) {
	if err := ctx.Err(); err != nil {
		return nil, channelError(err)
	}
	return s.replica.models.of(o), nil
}
