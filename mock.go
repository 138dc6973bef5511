package eureka

import (
	"context"
	"encoding/json"
)

// Limits of mocks.
const (
	MaxMocks        = 100      // of a service
	MaxMockData     = 16 << 10 // bytes of Data with its templates
	MaxMockTemplate = 1024     // bytes of each other field that is a template
	MaxMockRate     = 1000     // events per second
	MinMockRate     = 0.01     // likewise
)

// Mock is a sample event that can be played at a rate, for development. ModelID, Event and the strings in Data are templates.
type Mock struct {
	ID        string          `json:"id"`
	ChannelID string          `json:"channelId,omitempty"` // as of an [Event]
	Service   string          `json:"service,omitempty"`
	ModelType string          `json:"modelType,omitempty"`
	ModelID   string          `json:"modelId,omitempty"`
	Event     string          `json:"event,omitempty"`
	Data      json.RawMessage `json:"data"`
	Rate      float64         `json:"rate"` // events per second; MinMockRate to MaxMockRate
	CreatedAt int64           `json:"createdAt"`
	UpdatedAt int64           `json:"updatedAt"`
}

// Validate checks the fields against their limits; whether the templates are ones it does not know. CodeInvalid names the field at fault.
func (m Mock) Validate() error {
	if err := CheckName("id", m.ID); err != nil {
		return err
	}
	for _, f := range []struct {
		field, value string
		maximum      int
	}{
		{"modelId", m.ModelID, MaxMockTemplate},
		{"event", m.Event, MaxMockTemplate},
	} {
		if err := checkText(f.field, f.value, f.maximum); err != nil {
			return err
		}
	}
	switch {
	case len(m.Data) == 0:
		return FieldError("data", "is missing")
	case len(m.Data) > MaxMockData:
		return FieldError("data", "is %d bytes long, the limit is %d", len(m.Data), MaxMockData)
	case !(m.Rate >= MinMockRate && m.Rate <= MaxMockRate): // not a number is neither
		return FieldError("rate", "must be %v to %d events per second", MinMockRate, MaxMockRate)
	}
	return Event{ChannelID: m.ChannelID, Service: m.Service, ModelType: m.ModelType}.Validate()
}

// Mocks keeps mocks. Only engines whose service has a process that can play them have it.
//
// Errors: CodeNotFound, CodeConflict, CodeUnavailable.
type Mocks interface {
	// CreateMock keeps a new mock; CodeConflict when its id is in use or there are MaxMocks already.
	CreateMock(ctx context.Context, m Mock) error
	// Mock returns the mock with this id.
	Mock(ctx context.Context, id string) (Mock, error)
	// UpdateMock replaces the mock with the same id; the last writer wins.
	UpdateMock(ctx context.Context, m Mock) error
	// DeleteMock forgets a mock.
	DeleteMock(ctx context.Context, id string) error
	// Mocks returns all of them by their ids.
	Mocks(ctx context.Context) ([]Mock, error)
}
