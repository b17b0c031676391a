//! What a frontend can do to its rings, its grants and its event channel.
//!
//! | what it does | where it was somebody's hole | what shows that it is none here |
//! |---|---|---|
//! | indices that cannot be, chains without end, across a page's, across the ring's | | `lies_about_the_ring_cost_the_connection` |
//! | extra infos without end, twice, of no kind; segments of no size | | `lies_in_extra_infos_cost_the_connection` |
//! | headers in pieces, frames in as many pieces as there may be | XSA-423, XSA-432 | `headers_strewn_over_many_slots_are_gathered`, `however_a_frame_is_cut_up_it_arrives_whole_or_not_at_all` |
//! | a request that is another when it is read again | XSA-155 | `requests_that_change_while_they_are_read_never_reach_beyond_a_page` |
//! | a frame that is another when it was judged | XSA-155 | `what_was_judged_is_what_arrives` |
//! | grants that never were, are revoked before or after the header was read | | `grants_revoked_…`, `who_never_stops_giving_bad_grants_loses_its_connection` |
//! | grants that come and go, so that somebody else is blamed | | `a_grant_that_is_back_when_it_is_asked_after_is_nobodys_fault` |
//! | frames shown and taken back | | `frames_taken_back_while_they_wait_for_credit_are_not_waited_for` |
//! | events without end | CVE-2021-28711 to 28713 | `events_without_end_cost_no_memory`; of the heap, `changes_without_end_take_no_memory` in tests/allocations.rs |
//! | buffers that cannot be written, or none at all | CVE-2021-28714, 28715 | `buffers_that_cannot_be_written_are_the_receivers_fault`, `who_never_stops_posting_bad_buffers_…`, `a_guest_that_posts_no_buffers_…` |
//! | all of it in any order | | `whatever_a_frontend_writes_it_harms_nobody_but_itself` |

use super::*;

mod anything;
mod grants;
mod ring;
