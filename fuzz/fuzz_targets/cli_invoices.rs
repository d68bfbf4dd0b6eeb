//! A file to replay, of any bytes: whatever it is, what is read of it can be asked of the services.
#![no_main]
use cli::ReplayPlan;
use proto::limits;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(plan) = ReplayPlan::of_content(data) else { return };
    let lines: usize = plan.invoices.iter().map(|invoice| invoice.lines.len()).sum();
    assert!(lines as u64 <= plan.row_count && plan.invoices.len() as u64 <= plan.invoice_count);
    assert!(plan.invoice_count <= plan.row_count);
    let mut sold = 0_i128;
    for invoice in &plan.invoices {
        assert!(!invoice.lines.is_empty());
        assert_eq!(limits::check_account(&invoice.account), Ok(()));
        assert_eq!(limits::check_request_id(&format!("replay/{}/{}", plan.file_key, invoice.number)), Ok(()));
        for line in &invoice.lines {
            assert_eq!(limits::check_sku(&line.sku), Ok(()));
            assert_eq!(limits::check_quantity(line.quantity), Ok(()));
            assert!(line.unit_price_minor >= 0);
            sold += i128::from(line.quantity);
        }
    }
    let demand = plan.demand();
    assert_eq!(demand.values().copied().map(i128::from).sum::<i128>(), sold);
    assert!(plan.accounts().len() <= plan.invoices.len());
});
