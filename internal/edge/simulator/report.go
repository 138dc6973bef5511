package simulator

import (
	"eureka"
	"eureka/internal/awslocal"
	"eureka/internal/edge/simulator/fault"
	"eureka/internal/edge/simulator/meter"
)

// startMeter begins to count: what the set-up took is the stack's, not the service's.
func (s *Simulator) startMeter() {
	s.meter = meter.New(nil)
	s.dynamo.Reset()
	s.queues.Reset()
	s.meter.Live(func(add func(meter.Counter, float64)) {
		u := s.dynamo.Usage()
		add(meter.DynamoReads, u.ReadUnits)
		add(meter.DynamoWrites, u.WriteUnits)
		add(meter.DynamoThrottled, float64(u.Throttled))
		for operation, n := range u.Calls {
			add(meter.DynamoCalls, float64(n))
			add(meter.DynamoCalls.Of(operation), float64(n))
		}
		for operation, n := range s.queues.Usage().Calls {
			if operation == "" { // SNS speaks another protocol, which does not name it
				add(meter.SNSCalls, float64(n))
				continue
			}
			add(meter.SQSCalls, float64(n))
			add(meter.SQSCalls.Of(operation), float64(n))
		}
	})
}

// Report is what was counted since the start, with its price.
func (s *Simulator) Report() (meter.Report, error) {
	prices, err := meter.List()
	if err != nil {
		return meter.Report{}, eureka.WrapError(eureka.CodeInternal, err, "the price table is broken")
	}
	return meter.Bill(s.meter.Read(), prices), nil
}

// PutFault puts a fault in force, in place of the one of the same kind and role. CodeInvalid for one that cannot be.
func (s *Simulator) PutFault(r fault.Rule) error {
	if err := s.faults.Put(r); err != nil {
		return eureka.Errorf(eureka.CodeInvalid, "%v", err)
	}
	s.applyDynamoFaults()
	return nil
}

// ClearFaults ends all faults.
func (s *Simulator) ClearFaults() {
	s.faults.Clear()
	s.applyDynamoFaults()
}

// applyDynamoFaults hands the proxy what it does.
func (s *Simulator) applyDynamoFaults() {
	var f awslocal.Faults
	for _, state := range s.faults.States() {
		switch state.Rule.Kind {
		case fault.DynamoThrottle:
			f.Throttle = state.Rule.Share
		case fault.DynamoUnprocessed:
			f.Unprocessed = state.Rule.Share
		default:
		}
	}
	s.dynamo.Set(f)
}

// Faults are the faults in force and what they did.
func (s *Simulator) Faults() []fault.State {
	states, usage := s.faults.States(), s.dynamo.Usage()
	for i := range states {
		switch states[i].Rule.Kind {
		case fault.DynamoThrottle:
			states[i].Seen, states[i].Happened = usage.Total()+usage.Throttled, usage.Throttled
		case fault.DynamoUnprocessed:
			states[i].Seen, states[i].Happened = usage.Total(), usage.Unprocessed
		default:
		}
	}
	return states
}
