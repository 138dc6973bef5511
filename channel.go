package eureka

// FirstChannelNumber is the first id given to a channel that is created without one.
const FirstChannelNumber = 1000001

// Limits of a channel's fields, in bytes of UTF-8.
const (
	MaxServiceLength   = 128
	MaxModelTypeLength = 128
	MaxModelIDLength   = 128
	MaxLabelLength     = 256  // Name
	MaxDescLength      = 2048 // Desc
)

// Channel is a declared, named stream of messages. Times are epoch milliseconds.
type Channel struct {
	ID        string `json:"id"`
	Alias     string `json:"alias,omitempty"` // a second name, unique among all ids and aliases
	Service   string `json:"service,omitempty"`
	ModelType string `json:"modelType,omitempty"`
	ModelID   string `json:"modelId,omitempty"` // empty: events of every model id
	Name      string `json:"name,omitempty"`
	Desc      string `json:"desc,omitempty"`
	Presence  bool   `json:"presence,omitempty"`  // subscribers see join and leave frames
	Filter    string `json:"filter,omitempty"`    // a rule: whether a message comes to the channel at all; "" for every message
	Transform string `json:"transform,omitempty"` // a rule: what takes the place of a message's data; "" for the data itself
	// Access says who may use the channel, beside what credentials allow; nil: everybody. What is pointed to is never written to.
	Access *Access `json:"access,omitempty"`
	// History is what the channel retains; nil: nothing.
	History   *Retention `json:"history,omitempty"`
	CreatedAt int64      `json:"createdAt"`
	UpdatedAt int64      `json:"updatedAt"`
	DeletedAt int64      `json:"deletedAt"`          // 0 while it lives
	Revision  uint64     `json:"revision,omitempty"` // given by the engine at each write; what an optimistic update compares
}

// Validate checks every field against its limit and returns a CodeInvalid error that names the first field at fault.
// An empty ID or [NewID] is allowed: it asks for the next number.
func (c Channel) Validate() error {
	if c.ID != "" && c.ID != NewID {
		if err := CheckName("id", c.ID); err != nil {
			return err
		}
	}
	if c.Alias != "" {
		if err := CheckName("alias", c.Alias); err != nil {
			return err
		}
		if c.Alias == c.ID || c.Alias == NewID {
			return FieldError("alias", "must differ from the channel's id and from %q", NewID)
		}
	}
	for _, f := range []struct {
		field, value string
		maximum      int
	}{
		{"service", c.Service, MaxServiceLength},
		{"modelType", c.ModelType, MaxModelTypeLength},
		{"modelId", c.ModelID, MaxModelIDLength},
		{"name", c.Name, MaxLabelLength},
		{"desc", c.Desc, MaxDescLength},
	} {
		if err := checkText(f.field, f.value, f.maximum); err != nil {
			return err
		}
	}
	access := Access{}
	if c.Access != nil {
		access = *c.Access
	}
	for _, f := range []struct{ field, rule string }{
		{"filter", c.Filter}, {"transform", c.Transform}, {"access.subscribe", access.Subscribe}, {"access.publish", access.Publish},
	} {
		if err := checkRule(f.field, f.rule); err != nil {
			return err
		}
	}
	if c.ModelID != "" && c.ModelType == "" {
		return FieldError("modelId", "needs a modelType")
	}
	if c.History != nil {
		return c.History.Validate()
	}
	return nil
}

// The fields of a channel that a [ChannelQuery] can filter on; those of ChannelSortFields can be sorted by.
var (
	ChannelFilterFields = []string{"id", "alias", "service", "modelType", "modelId", "name", "desc", "presence", "createdAt", "updatedAt"}
	ChannelSortFields   = []string{"id", "alias", "service", "modelType", "modelId", "name", "createdAt", "updatedAt"}
)

// ChannelQuery selects channels. The zero query is the first page of all living channels, newest first.
type ChannelQuery struct {
	Where []Condition // all must hold; fields of ChannelFilterFields
	Text  string      // free text over id, alias, service, modelType, modelId, name, desc; every word must occur (as a prefix), any case
	Sort  Sort        // field of ChannelSortFields; default createdAt descending; ties by id in the same direction
	Paging
}

// Validate checks the query's fields and limits and returns a CodeInvalid error that names the fault.
func (q ChannelQuery) Validate() error {
	if err := validateWhere(q.Where, ChannelFilterFields); err != nil {
		return err
	}
	if err := checkText("q", q.Text, MaxQueryText); err != nil {
		return err
	}
	if err := q.Sort.validate(ChannelSortFields); err != nil {
		return err
	}
	return q.validate()
}
