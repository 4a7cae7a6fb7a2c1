-- Passes every bid on.
SELECT auction, bidder, price, date_time, extra
FROM bid
